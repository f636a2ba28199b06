"""Stand-in for the part of Open3D that a fit uses, for machines with a GPU but without it (its wheel has 450 MB)."""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

RAYS_AT_ONCE = 512
GRAZING = 1e-9


def without_open3d() -> None:
    """Put the stand-in into Open3D's place where that is not installed."""
    if "open3d" in sys.modules or importlib.util.find_spec("open3d"):
        return
    module: Any = ModuleType("open3d")
    module.core = SimpleNamespace(Tensor=SimpleNamespace(from_numpy=np.asarray))
    module.t = SimpleNamespace(geometry=SimpleNamespace(RaycastingScene=Scene))
    sys.modules["open3d"] = module


class Scene:
    """Scene of triangles, which tells how far along each ray the first of them is; nothing else of it."""

    def __init__(self) -> None:
        self.triangles: list[Tensor] = []

    def add_triangles(self, vertices: np.ndarray, faces: np.ndarray) -> None:
        """Add a mesh: vertices (vertex 3) and faces (face 3)."""
        self.triangles.append(torch.from_numpy(vertices)[torch.from_numpy(faces.astype(np.int64))])

    def cast_rays(self, rays: np.ndarray) -> dict[str, Any]:
        """Find the distance of the first hit of each ray (ray 6) as a multiple of its direction; infinite where none.

        Möller and Trumbore 1997.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        corner, one, two = torch.cat(self.triangles).to(device, torch.float64).unbind(dim=1)
        first, second = one - corner, two - corner
        found = []
        for some in torch.from_numpy(rays).to(device, torch.float64).split(RAYS_AT_ONCE):
            origin, way = some[:, None, :3], some[:, None, 3:]
            across = torch.linalg.cross(way, second[None].expand(len(some), -1, -1))
            volume = (first * across).sum(dim=-1)
            away = origin - corner
            u = (away * across).sum(dim=-1) / volume
            turned = torch.linalg.cross(away, first[None].expand_as(away))
            v = (way * turned).sum(dim=-1) / volume
            hit = (second * turned).sum(dim=-1) / volume
            inside = (volume.abs() > GRAZING) & (u >= 0) & (v >= 0) & (u + v <= 1) & (hit >= 0)
            found.append(torch.where(inside, hit, torch.inf).amin(dim=-1))
        return {"t_hit": torch.cat(found).float().cpu()}
