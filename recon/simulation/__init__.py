"""The parts of `recon.simulate`: rooms, the people in them, their pictures and their annotations."""
