"""How the stand-in networks that ship with the repo are made anew; nothing else needs these modules."""
