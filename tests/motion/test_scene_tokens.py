"""Groups of scene points."""

import torch

from motion.scene_tokens import POINTS_PER_GROUP, group_points


def test_groups_do_not_depend_on_the_order_of_points() -> None:
    points = torch.rand(300, 3) * torch.tensor([4.0, 3.0, 2.0])
    shuffled = points[torch.randperm(300)]
    assert torch.equal(group_points(points), group_points(shuffled))


def test_every_point_is_in_a_group_and_groups_are_compact() -> None:
    points = torch.rand(640, 3)
    groups = group_points(points)
    assert groups.shape == (10, POINTS_PER_GROUP, 3)
    assert {tuple(p) for p in groups.flatten(0, 1).tolist()} == {tuple(p) for p in points.tolist()}
    spread = groups.std(dim=1).mean()
    assert spread < 0.75 * points[torch.randperm(640)].unflatten(0, (10, 64)).std(dim=1).mean()


def test_few_and_no_points() -> None:
    assert group_points(torch.zeros(0, 3)).shape == (0, POINTS_PER_GROUP, 3)
    one = torch.tensor([[1.0, 2.0, 3.0]])
    assert torch.equal(group_points(one), one.expand(1, POINTS_PER_GROUP, 3))
