"""Reconstruction of a metric scene with persons from a room video (`recon.pipeline`); PyTorch and NumPy, no Ray."""
