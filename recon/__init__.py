"""A room video becomes a metric scene with people. Pure PyTorch and NumPy, no Ray.

This room is empty so far: its boundary (which parts of `motion` it may use) is already checked.
"""
