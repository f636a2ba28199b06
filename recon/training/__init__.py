"""Training of the stand-in networks that ship with the repo; nothing else needs these modules."""
