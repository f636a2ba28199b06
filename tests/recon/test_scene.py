"""Box room seen by a camera in its corner, which becomes a labelled cloud on its surfaces, without its persons."""

from functools import lru_cache

import numpy as np
import open3d as o3d
import pytest
import torch

from motion.denoiser.scene_tokens import group_points
from motion.errors import InputError
from motion.sequence import LABELS, Scene
from recon import scene as module
from recon.camera import Camera, intrinsics_matrix
from recon.depth import DepthFusion
from recon.depth.fusion import background, grow
from recon.floor import Plane, extrinsics
from recon.scene import Room, build_scene, object_points, over_floor
from recon.teton import PERSON_LABEL

SIZE = (160, 120)
# Label, and the centre and size of a box in the world; the room's walls are 2 m to the sides and 5 m ahead.
BOXES = {
    "floor": ((0, 2, -0.05), (8, 8, 0.1)),
    "wall": ((0, 5.05, 1.5), (8, 0.1, 3)),
    "bed": ((-0.9, 3.2, 0.25), (1.0, 2.0, 0.5)),
    "chair": ((1.1, 2.6, 0.4), (0.5, 0.5, 0.8)),
}
COLORS = {"floor": (120, 90, 60), "wall": (200, 200, 190), "bed": (40, 80, 200), "chair": (180, 30, 30)}


def camera(tilt: float = 30) -> Camera:
    up = np.array([0.0, -np.cos(np.radians(tilt)), -np.sin(np.radians(tilt))])
    intrinsics = intrinsics_matrix(120.0, 120.0, SIZE[0] / 2 - 0.5, SIZE[1] / 2 - 0.5)
    return Camera(intrinsics, torch.from_numpy(extrinsics(Plane(up, 2.4, 1.0))).float(), SIZE)


def mesh(center: tuple[float, ...], size: tuple[float, ...]) -> o3d.t.geometry.TriangleMesh:
    box = o3d.geometry.TriangleMesh.create_box(*size).translate(np.array(center) - np.array(size) / 2)
    return o3d.t.geometry.TriangleMesh.from_legacy(box)


@lru_cache
def render(person_x: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render image, mask and depth of the room, with or without a person (a box) in it."""
    scene = o3d.t.geometry.RaycastingScene()
    names = list(BOXES)
    for box in BOXES.values():
        scene.add_triangles(mesh(*box))
    if person_x is not None:
        scene.add_triangles(mesh((person_x, 2.2, 0.85), (0.4, 0.3, 1.7)))
    view = camera()
    intrinsics = view.intrinsics.double().numpy()
    intrinsics[:2, 2] += 0.5  # Open3D's pixel (0, 0) is the corner of the image
    rays = scene.create_rays_pinhole(
        o3d.core.Tensor(intrinsics), o3d.core.Tensor(view.extrinsics.double().numpy()), *SIZE
    )
    hits = scene.cast_rays(rays)
    depth, ids = hits["t_hit"].numpy(), hits["geometry_ids"].numpy()
    codes = np.array([*(LABELS.index(name) for name in names), PERSON_LABEL], dtype=np.uint8)
    colors = np.array([*(COLORS[name] for name in names), (250, 220, 200)], dtype=np.uint8)
    seen = np.isfinite(depth)
    index = np.where(seen, ids, 0)
    return colors[index], np.where(seen, codes[index], 0).astype(np.uint8), np.where(seen, depth, np.nan)


def keyframes(*people: float | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, masks, depth = zip(*(render(x) for x in people), strict=True)
    return np.stack(images), np.stack(masks), np.stack(depth).astype(np.float32)


def room(*people: float | None) -> Scene:
    return build(*keyframes(*people))


def build(images: np.ndarray, masks: np.ndarray, depth: np.ndarray) -> Scene:
    floor, fusion = Plane(np.array([0.0, -1.0, 0.0]), 2.4, 0.9), DepthFusion(1 / 1.5, 0.0, 1.0, 0.0)
    empty = Room(camera(), floor, depth, background(depth, masks >= PERSON_LABEL), fusion, None)
    return build_scene("room", images, masks, empty)


def distance_to(name: str, points: np.ndarray) -> np.ndarray:
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(mesh(*BOXES[name]))
    return scene.compute_distance(o3d.core.Tensor(points)).numpy()


def test_points_lie_on_the_surfaces_that_their_labels_name() -> None:
    found = room(0.3, None, 1.2)
    assert found.points[:, 2].min() > -0.01
    for name in BOXES:
        mine = found.labels == LABELS.index(name)
        assert mine.sum() > 100
        assert distance_to(name, found.points[mine]).max() < 0.012
        np.testing.assert_array_equal(found.colors[mine], np.broadcast_to(COLORS[name], (mine.sum(), 3)))
    assert set(found.labels) == {LABELS.index(name) for name in BOXES}


def test_people_leave_no_points_and_no_hole_where_a_key_frame_shows_the_room() -> None:
    empty, moving, staying = room(None), room(0.3, 1.5), room(0.3)
    assert len(moving.points) > 0.97 * len(empty.points)
    assert len(staying.points) < 0.97 * len(empty.points)
    for found in (moving, staying):
        x, y, z = found.points.T
        assert not ((np.abs(x - 0.4) < 0.3) & (np.abs(y - 2.2) < 0.3) & (z > 0.05)).any()


def test_smeared_edges_and_stray_points_are_left_out() -> None:
    """Depth blurred as a network blurs it hangs between bed and floor; single pixels are wrong by a metre."""
    images, masks, depth = keyframes(None)
    blurred = np.where(np.isfinite(depth), depth, 4.0)[0]
    for axis in (0, 1):
        blurred = (np.roll(blurred, 1, axis) + blurred + np.roll(blurred, -1, axis)) / 3
    blurred[20:100:12, 20:140:12] -= 1.0
    found = build(images, masks, blurred[None].astype(np.float32))
    nearest = np.min([distance_to(name, found.points) for name in BOXES], axis=0)
    assert len(found.points) > 0.8 * len(room(None).points)
    assert np.mean(nearest > 0.05) < 0.01


def test_depth_follows_the_floor_that_the_camera_is_put_over() -> None:
    """The networks' depth is a quarter too large, so is the floor's; over the true floor all surfaces are in place."""
    images, masks, depth = keyframes(0.3, 1.5)
    disparity = np.where(np.isfinite(depth), 1 / depth, np.nan)
    fusion = DepthFusion(0.8, 0.0, 1.0, 0.1)
    seen, empty = fusion.depth(disparity), background(fusion.depth(disparity), masks >= PERSON_LABEL)
    floor = Plane(camera().extrinsics[:3, 2].double().numpy(), 3.0, 0.9)
    wrong = Camera(camera().intrinsics, torch.from_numpy(extrinsics(floor)).float(), SIZE)
    found = over_floor(Room(wrong, floor, seen, empty, fusion, None), camera(), disparity, masks)
    assert found.floor.offset == pytest.approx(2.4, abs=1e-5)
    np.testing.assert_allclose(found.depth, depth, rtol=0.01)
    scene = build_scene("room", images, masks, found)
    assert np.abs(scene.points[scene.labels == LABELS.index("floor"), 2]).max() < 0.03


def frontal(depth: np.ndarray, focal: tuple[float, float]) -> Scene:
    """Build the scene of one depth map that a camera at the world's origin sees along z, all of it wall."""
    rows, columns = depth.shape
    intrinsics = intrinsics_matrix(*focal, (columns - 1) / 2, (rows - 1) / 2)
    view = Camera(intrinsics, torch.eye(4), (columns, rows))
    floor, fusion = Plane(np.array([0.0, -1.0, 0.0]), 2.4, 0.9), DepthFusion(1 / 1.5, 0.0, 1.0, 0.0)
    depth = depth.astype(np.float32)
    empty = Room(view, floor, depth[None], depth, fusion, None)
    masks = np.full((1, rows, columns), LABELS.index("wall"), dtype=np.uint8)
    return build_scene("room", np.zeros((*masks.shape, 3), np.uint8), masks, empty)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("degrees", "is_smeared"), [(4.5, True), (5.1, False)])
def test_surfaces_seen_at_less_than_five_degrees_are_left_out(degrees: float, is_smeared: bool, axis: int) -> None:
    """A wall 3 m away that leads away from the camera, across or down the image; pixels are twice as high as wide."""
    focal = (8000.0, 4000.0)
    slope = 1 / np.tan(np.radians(degrees))
    along = 3 / (1 - slope * (np.arange(24) - 11.5) / focal[axis])
    depth = np.broadcast_to(along[:, None] if axis else along, (24, 24))
    if is_smeared:
        with pytest.raises(InputError, match="no pixel shows"):
            frontal(depth, focal)
    else:
        assert len(frontal(depth, focal).points) > 0


def test_the_width_of_a_pixel_at_its_near_side_tells_what_is_an_edge() -> None:
    """Columns of 1 m alternate with farther ones: 12 of depth for 1 across is 12 cm, since pixels are 1 cm at 1 m."""
    farther = np.tile([0.0, 1.0], (16, 8))
    with pytest.raises(InputError, match="no pixel shows"):
        frontal(1 + 0.125 * farther, (100.0, 100.0))
    assert len(frontal(1 + 0.115 * farther, (100.0, 100.0)).points) > 0


def test_points_are_three_centimetres_apart_and_stray_ones_are_left_out() -> None:
    """The wall has a square metre; patches of 3 by 3 pixels, whose edges are smeared, are half a metre nearer."""
    depth = np.full((200, 200), 2.005)
    assert len(frontal(depth, (401.0, 401.0)).points) == pytest.approx(1 / 0.03**2, rel=0.08)
    for row, column in np.ndindex(3, 3):
        depth[50 * row + 40 :][:3, 50 * column + 40 :][:, :3] -= 0.5
    found = frontal(depth, (401.0, 401.0)).points
    assert len(found) == pytest.approx(1 / 0.03**2, rel=0.08)
    np.testing.assert_allclose(found[:, 2], 2.005, atol=1e-3)


def test_a_room_of_few_points_keeps_them() -> None:
    """Two pixels are too few to say how far apart points usually are."""
    found = frontal(np.array([[2.0, 2.0]]), (10.0, 10.0))
    np.testing.assert_allclose(found.points, [[-0.1, 0, 2], [0.1, 0, 2]], atol=1e-6)


def test_a_point_has_the_colour_and_label_of_the_empty_room() -> None:
    """Two of three key frames show a person, whose edges are labelled as a window; the third shows what they hide."""
    images, masks, depth = keyframes(0.3, 0.3, None)
    people = masks >= PERSON_LABEL
    masks[grow(people) & ~people] = LABELS.index("window")
    found = build(images, masks, depth)
    assert set(found.labels) == {LABELS.index(name) for name in BOXES}
    for name in BOXES:
        mine = found.labels == LABELS.index(name)
        np.testing.assert_array_equal(found.colors[mine], np.broadcast_to(COLORS[name], (mine.sum(), 3)))


def test_points_are_few_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    found, again = room(0.3, 1.5), room(0.3, 1.5)
    np.testing.assert_array_equal(found.points, again.points)
    monkeypatch.setattr(module, "MOST_POINTS", 1000)
    assert 500 < len(room(None).points) <= 1000


def test_a_room_that_nobody_ever_leaves_is_refused() -> None:
    images, masks, depth = keyframes(None)
    with pytest.raises(InputError, match="no pixel shows the empty room"):
        build(images, np.full_like(masks, PERSON_LABEL), depth)


def test_object_points_are_spread_over_the_furniture_in_whole_groups() -> None:
    found = room(None)
    points = object_points(found, num_groups=4, seed=0)
    assert points.shape == (256, 3)
    assert len(group_points(torch.from_numpy(points))) == 4
    assert np.minimum(distance_to("bed", points), distance_to("chair", points)).max() < 0.012
    furniture = found.points[np.isin(found.labels, [LABELS.index("bed"), LABELS.index("chair")])]
    to_nearest = np.linalg.norm(furniture[:, None] - points[None], axis=-1).min(axis=1)
    assert to_nearest.max() < 0.2
    np.testing.assert_array_equal(points, object_points(found, num_groups=4, seed=0))
    assert (points != object_points(found, num_groups=4, seed=1)).any()


def test_little_furniture_gives_fewer_groups_and_none_gives_none() -> None:
    found = room(None)
    chair = object_points(found, num_groups=1000, seed=0)
    assert len(chair) % 64 == 0
    furniture = np.isin(found.labels, [LABELS.index("bed"), LABELS.index("chair")])
    assert 0 <= len(chair) - furniture.sum() < 64
    bare = Scene(**{**vars(found), "labels": np.zeros_like(found.labels)})
    assert object_points(bare, num_groups=4, seed=0).shape == (0, 3)
