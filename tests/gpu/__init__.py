"""Scripts for a machine with a GPU, where neither Ray nor Open3D need be installed."""

from tests.gpu.rays import without_open3d

without_open3d()
