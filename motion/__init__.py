"""What a motion is, and the model that makes new ones: pure PyTorch and NumPy, usable from a notebook.

World: right-handed, Z up, floor = the XY plane, metres. Masks: True = valid. Rotations are matrices;
6D rotations are the first two columns flattened row by row. Nothing here imports Ray, DeepSpeed or MLflow.
"""
