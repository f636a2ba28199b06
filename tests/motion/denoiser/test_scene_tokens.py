"""Groups of scene points."""

from collections.abc import Callable

import pytest
import torch

from motion.denoiser.scene_tokens import CELL_M, HEIGHT_SHAPE, group_points, height_map, height_patches
from motion.errors import InputError
from motion.features import POINTS_PER_GROUP


def test_groups_do_not_depend_on_the_order_of_points() -> None:
    points = torch.rand(300, 3) * torch.tensor([4.0, 3.0, 2.0])
    shuffled = points[torch.randperm(300)]
    assert torch.equal(group_points(points), group_points(shuffled))
    crowded = torch.cat([1e-4 * points, torch.ones(1, 3)])  # but for one all lie in the same cell of the curve
    assert torch.equal(group_points(crowded), group_points(crowded.flip(0)))


def test_every_point_is_in_a_group_and_groups_are_compact() -> None:
    points = torch.rand(640, 3)
    groups = group_points(points)
    assert groups.shape == (10, POINTS_PER_GROUP, 3)
    assert {tuple(p) for p in groups.flatten(0, 1).tolist()} == {tuple(p) for p in points.tolist()}
    spread = groups.std(dim=1).mean()
    assert spread < 0.75 * points[torch.randperm(640)].unflatten(0, (10, 64)).std(dim=1).mean()


def test_groups_are_cubes_of_the_z_order_curve() -> None:
    """The curve goes through one half of a box before the other, x first: 8 x 8 x 8 points are eight cubes of 64."""
    ticks = torch.arange(8.0)
    points = torch.cartesian_prod(ticks, ticks, ticks)[torch.randperm(512)]
    groups = group_points(points)
    low, high = groups.amin(dim=1), groups.amax(dim=1)
    assert low.tolist() == [[x, y, z] for z in (0, 4) for y in (0, 4) for x in (0, 4)]
    assert torch.equal(high - low, torch.full((8, 3), 3.0))


def test_few_and_no_points() -> None:
    assert group_points(torch.zeros(0, 3)).shape == (0, POINTS_PER_GROUP, 3)
    one = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(group_points(one), one.expand(1, POINTS_PER_GROUP, 3))


def test_the_height_map_shows_what_stands_where() -> None:
    """A bed 0.5 m high stands 2 to 4 m ahead and to the right, on a floor that ends at 6 m."""
    floor = torch.cartesian_prod(torch.arange(-2, 2, 0.1), torch.arange(0, 6, 0.1), torch.tensor([0.0]))
    bed = torch.cartesian_prod(torch.arange(1, 2, 0.1), torch.arange(2, 4, 0.1), torch.tensor([0.2, 0.5]))
    heights, known = height_map(torch.cat([floor, bed]) + 0.01).unbind(-1)
    middle = HEIGHT_SHAPE[1] // 2
    assert heights[int(3 / CELL_M), middle + int(1.5 / CELL_M)] == pytest.approx(0.51)
    assert heights[int(3 / CELL_M), middle - int(1.5 / CELL_M)] == pytest.approx(0.01)
    assert (known.sum(dim=0) > 0).sum() * CELL_M == 4
    assert (known.sum(dim=1) > 0).sum() * CELL_M == 6


def test_heights_lie_between_the_floor_and_two_metres() -> None:
    """Cells over ceiling lamps or below the noise of a floor show what training rooms can show."""
    points = torch.tensor([[0.1, 0.1, 2.7], [0.1, 0.4, 1.9], [0.1, 0.6, -0.2]])
    assert height_map(points)[:3, 16].tolist() == [[2.0, 1.0], [pytest.approx(1.9), 1.0], [0.0, 1.0]]


def test_the_height_map_does_not_depend_on_the_order_of_points() -> None:
    points = torch.randn(500, 3) * 4
    assert torch.equal(height_map(points), height_map(points.flip(0)))
    assert not height_map(torch.zeros(0, 3)).any()


def test_patches_are_squares_of_the_map() -> None:
    heights = torch.rand(2, *HEIGHT_SHAPE, 2)
    patches = height_patches(heights)
    assert patches.shape == (2, 16, 128)
    assert torch.equal(patches[1, 5].unflatten(0, (8, 8, 2)), heights[1, 8:16, 8:16])


@pytest.mark.parametrize("see", [group_points, height_map])
def test_points_that_are_not_finite_are_refused(see: Callable[[torch.Tensor], torch.Tensor]) -> None:
    points = torch.rand(70, 3)
    points[3, 1] = torch.nan
    with pytest.raises(InputError, match="1 of 70 points of the scene are not finite"):
        see(points)
