"""A room video becomes a metric scene with people (`recon.pipeline`). Pure PyTorch and NumPy, no Ray."""
