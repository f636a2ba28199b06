"""What is done to a clip before and after training: transforms, ground, duplicates, augmentation, composition."""
