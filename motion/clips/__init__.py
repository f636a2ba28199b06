"""Operations on clips before and after training: transforms, ground, duplicates, augmentation, composition."""
