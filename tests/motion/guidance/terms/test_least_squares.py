"""Damped Newton steps: where their quadratics are least, row by row."""

import torch
from torch import Tensor

from motion.guidance.terms.least_squares import Prior, damped_step


def test_a_damped_step_is_where_its_quadratic_is_least_row_by_row() -> None:
    """The rank is 4, so that conjugate gradients end before their iterations do; one row is stiff, one is flat."""
    random = torch.Generator().manual_seed(0)
    shape = (3, 2, 10, 5)  # batch, person, frame, part
    slope, *ways = torch.randn(5, *shape, generator=random, dtype=torch.float64)
    stiffness = torch.tensor([1.0, 1e4, 1e-4], dtype=torch.float64)[:, None, None, None]
    kernels = torch.randn(3, 2, 10, 10, generator=random, dtype=torch.float64)
    prior = Prior(kernels @ kernels.mT, torch.logspace(-2, 0, 5).double(), torch.ones(3, 2, 1, 5).double())

    def step(rows: int) -> tuple[Tensor, Tensor]:
        def curvature(along: Tensor) -> Tensor:
            hits = ((along * way[:rows]).sum(dim=(1, 2, 3), keepdim=True) * way[:rows] for way in ways)
            return stiffness[:rows] * sum(hits, torch.zeros_like(along))

        first = Prior(prior.kernels[:rows], prior.variances, prior.step_scale[:rows])
        pull = damped_step(slope[:rows], curvature, first, damping=50.0)
        return pull, slope[:rows] + curvature(first.smoothed(pull)) + 51 * pull

    pull, left = step(3)
    assert (left.flatten(1).norm(dim=1) < 1e-6 * slope.flatten(1).norm(dim=1)).all()
    torch.testing.assert_close(step(1)[0], pull[:1], rtol=1e-9, atol=1e-12)
