"""Import of what people have (a video and the output of an annotation tool or a detector) as Teton sequences."""
