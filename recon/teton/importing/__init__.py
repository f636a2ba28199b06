"""Import of what people have (a video and the output of an annotation tool or a detector) as Teton sequences."""

from recon.teton.importing.command import ImportConfig, import_video

__all__ = ["ImportConfig", "import_video"]
