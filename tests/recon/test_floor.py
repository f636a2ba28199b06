"""Floor plane: found among outliers and furniture at any tilt, and the transform to the Z-up world."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from motion.errors import InputError
from motion.metrics.pose_error import floor_error
from motion.sequence import LABELS
from recon.camera import intrinsics_matrix, unproject_image
from recon.floor import Plane, extrinsics, find_floor, fit_floor
from recon.simulate import SimulateConfig, simulate
from tests.helpers.rgbd import RENDERED, read_depth

KINECT = intrinsics_matrix(525.0, 525.0, 319.5, 239.5).double()
WIDTH, HEIGHT = 128, 96
FOCAL = 110.0


def floor_normal(tilt: float, roll: float = 0.0) -> np.ndarray:
    """Compute a level floor's normal for a camera that looks `tilt` degrees down."""
    up = np.array([0.0, -np.cos(np.radians(tilt)), -np.sin(np.radians(tilt))])
    return Rotation.from_euler("z", roll, degrees=True).apply(up)


def floor_points(normal: np.ndarray, height: float) -> np.ndarray:
    """Sample the points that a camera sees of a floor, up to 10 m away."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(columns - WIDTH / 2) / FOCAL, (rows - HEIGHT / 2) / FOCAL, np.ones(rows.shape)], axis=-1)
    nearness = -(rays @ normal) / height
    return rays[nearness > 0.1] / nearness[nearness > 0.1][:, None]


def spoil(points: np.ndarray, rng: np.random.Generator, outliers: float = 0.3) -> np.ndarray:
    """Add 1 % noise along each ray, and move a share of the points to a random place on their ray."""
    scale = 1 + 0.01 * rng.standard_normal(len(points))
    wrong = rng.random(len(points)) < outliers
    scale[wrong] = rng.uniform(0.2, 1.5, wrong.sum())
    return points * scale[:, None]


@pytest.mark.parametrize("tilt", range(0, 61, 10))
def test_true_depth_gives_the_floor_within_half_a_degree_and_a_centimetre(tilt: int) -> None:
    normal = floor_normal(tilt, roll=2.0)
    found = fit_floor(floor_points(normal, 2.4))
    angle, height = floor_error(found.normal, found.offset, normal, 2.4)
    assert angle < 1e-3
    assert height < 1e-4
    assert found.inlier_ratio == 1
    assert found.normal @ normal > 0


@pytest.mark.parametrize("tilt", range(0, 61, 10))
def test_noise_and_outliers_leave_the_floor_within_half_a_degree_and_a_centimetre(
    tilt: int, rng: np.random.Generator
) -> None:
    normal = floor_normal(tilt)
    found = fit_floor(spoil(floor_points(normal, 2.4), rng))
    angle, height = floor_error(found.normal, found.offset, normal, 2.4)
    assert angle < 0.5
    assert height < 0.01
    assert found.inlier_ratio > 0.65


def test_what_stands_on_the_floor_inside_the_band_does_not_lift_it(rng: np.random.Generator) -> None:
    """A third of the points of one side are 4 to 9 cm too high: the band of 10 cm keeps them, and the fit does not."""
    normal = floor_normal(35)
    points = floor_points(normal, 2.4)
    raised = (points[:, 0] > 0) & (rng.random(len(points)) < 0.33)
    points[raised] += normal * rng.uniform(0.04, 0.09, raised.sum())[:, None]
    found = fit_floor(points)
    angle, height = floor_error(found.normal, found.offset, normal, 2.4)
    assert angle < 0.05
    assert height < 0.002


def test_what_stands_above_the_band_does_not_lift_an_uneven_floor(rng: np.random.Generator) -> None:
    """Depth is wrong by up to 7 cm; two fifths of the points are 15 to 30 cm too high, beyond the band of 10 cm."""
    normal = floor_normal(30)
    points = floor_points(normal, 2.4)[::2]
    raised = rng.random(len(points)) < 0.4
    height = np.where(raised, rng.uniform(0.15, 0.3, len(points)), rng.uniform(-0.07, 0.07, len(points)))
    assert fit_floor(points + height[:, None] * normal).offset == pytest.approx(2.4, abs=0.005)


@pytest.mark.parametrize(("share", "is_floor"), [(0.25, False), (0.36, True)])
def test_less_than_three_tenths_of_a_mask_are_no_floor(share: float, is_floor: bool, rng: np.random.Generator) -> None:
    points = floor_points(floor_normal(30), 2.0)
    points = rng.permutation(points)[:1000]
    points[int(share * 1000) :] = rng.uniform(-30, 30, (1000 - int(share * 1000), 3))
    if is_floor:
        assert fit_floor(points).inlier_ratio == pytest.approx(share, abs=0.02)
    else:
        with pytest.raises(InputError, match=r"2\d% of the floor's points lie in one plane, expected 30%"):
            fit_floor(points)


@pytest.mark.parametrize("height", [0.35, 5.9])
def test_cameras_hang_between_03_and_6_metres(height: float) -> None:
    assert fit_floor(floor_points(floor_normal(30), height)).offset == pytest.approx(height)


@pytest.mark.parametrize("height", [0.2, 6.5])
def test_cameras_on_the_floor_or_above_the_roof_are_refused(height: float) -> None:
    with pytest.raises(InputError, match=rf"camera would hang {height:.2f} m above the floor, expected 0\.3 to 6\.0 m"):
        fit_floor(floor_points(floor_normal(30), height))


@given(st.floats(0, 60), st.floats(-10, 10), st.floats(1, 2.8), st.integers(0, 2**31))
@settings(max_examples=40)
def test_floor_holds_within_a_degree_at_any_tilt(tilt: float, roll: float, height: float, seed: int) -> None:
    normal = floor_normal(tilt, roll)
    found = fit_floor(spoil(floor_points(normal, height), np.random.default_rng(seed)), seed=seed)
    angle, difference = floor_error(found.normal, found.offset, normal, height)
    assert angle < 1
    assert difference < 0.03


def test_thesis_regression_agrees_when_the_camera_looks_down() -> None:
    normal = floor_normal(45)
    found = fit_floor(floor_points(normal, 2.4), parametrisation="thesis")
    assert max(floor_error(found.normal, found.offset, normal, 2.4)) < 1e-3


def test_thesis_regression_is_ill_conditioned_when_the_camera_looks_level(rng: np.random.Generator) -> None:
    """The floor is then y = constant, which says nothing of z."""
    normal = floor_normal(0)
    points = spoil(floor_points(normal, 2.0), rng, outliers=0)
    ours = fit_floor(points)
    assert floor_error(ours.normal, ours.offset, normal, 2.0)[0] < 0.1
    with pytest.raises(InputError, match="% of the floor's points lie in one plane"):
        fit_floor(points, parametrisation="thesis")


@given(st.floats(0, 90), st.floats(-180, 180), st.floats(0.5, 6))
def test_extrinsics_put_the_floor_at_zero_and_the_view_along_y(tilt: float, roll: float, height: float) -> None:
    normal = floor_normal(tilt, roll)
    matrix = extrinsics(Plane(normal, height, 1.0))
    rotation = matrix[:3, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)
    center = -rotation.T @ matrix[:3, 3]
    np.testing.assert_allclose(center, [0, 0, height], atol=1e-9)
    np.testing.assert_allclose(rotation @ [0, 0, 1], normal, atol=1e-9)
    view = rotation.T @ [0, 0, 1]
    assert view[0] == pytest.approx(0, abs=1e-6)
    assert view[1] >= -1e-9


@given(st.floats(0, 89), st.floats(-60, 60))
def test_extrinsics_are_rodrigues_rotation_up_to_a_turn_about_z(tilt: float, roll: float) -> None:
    """The extrinsics agree with eq. 4.3 and eq. 4.4."""
    normal = floor_normal(tilt, roll)
    axis = np.cross(normal, [0, 0, 1])
    cross = np.cross(np.eye(3), axis)  # K of eq. 4.3
    rodrigues = np.eye(3) + cross + cross @ cross * (1 - normal[2]) / (axis @ axis)
    turn = extrinsics(Plane(normal, 2.0, 1.0))[:3, :3].T @ rodrigues.T
    np.testing.assert_allclose(turn @ [0, 0, 1], [0, 0, 1], atol=1e-9)


def test_looking_straight_down_the_images_up_is_ahead() -> None:
    """Rodrigues' formula divides by zero here."""
    rotation = extrinsics(Plane(np.array([0.0, 0.0, -1.0]), 3.0, 1.0))[:3, :3]
    np.testing.assert_allclose(rotation, np.diag([1.0, -1.0, -1.0]), atol=1e-12)


def test_bad_floors_are_refused(rng: np.random.Generator) -> None:
    points = floor_points(floor_normal(30), 2.0)
    with pytest.raises(InputError, match=r"49 points of the floor.*expected 50"):
        fit_floor(np.concatenate([points[:49], np.full((9, 3), np.nan)]))
    with pytest.raises(InputError, match=r"points lie within 0\.0\d\d m of a line, expected 0\.05 m"):
        fit_floor(np.linspace([-2, 1.5, 3], [2, 1.6, 4], 200) + 0.01 * rng.standard_normal((200, 3)))
    with pytest.raises(InputError, match=r"% of the floor's points lie in one plane"):
        fit_floor(rng.uniform(-3, 3, (500, 3)))
    with pytest.raises(InputError, match=r"8\.00 m above the floor"):
        fit_floor(4 * points)
    with pytest.raises(InputError, match=r"points of the room face up"):
        find_floor(floor_points(np.array([1.0, 0.0, 0.0]), 2.0))


def sheet(x: tuple[float, float], y: tuple[float, float], z: float) -> np.ndarray:
    """Sample a level rectangle of the world (metres) every 4 cm: z up, x right of the camera and y ahead of it."""
    columns, rows = np.meshgrid(np.arange(*x, 0.04), np.arange(*y, 0.04))
    return np.stack([columns.ravel(), rows.ravel(), np.full(columns.size, z)], axis=1)


def seen(points: np.ndarray, tilt: float) -> np.ndarray:
    """Show points of the world to a camera 2.4 m above its origin that looks `tilt` degrees down."""
    sin, cos = np.sin(np.radians(tilt)), np.cos(np.radians(tilt))
    return (points - [0, 0, 2.4]) @ np.array([[1, 0, 0], [0, -sin, -cos], [0, cos, -sin]]).T


@pytest.mark.parametrize("tilt", [20, 50])
def test_a_large_table_is_not_the_floor_on_both_its_sides(tilt: int) -> None:
    """A table of 4 m² is 75 cm high, and a quarter of what is seen is floor."""
    table = sheet((-1, 1), (2, 4), 0.75)
    floor = np.concatenate([sheet((-1.5, -1.2), (2, 4), 0), sheet((1.2, 1.5), (2, 4), 0)])
    found = find_floor(seen(np.concatenate([table, floor]), tilt))
    assert floor_error(found.normal, found.offset, floor_normal(tilt), 2.4) == pytest.approx((0, 0), abs=1e-3)


def test_less_than_half_a_square_metre_is_no_floor() -> None:
    with pytest.raises(InputError, match="no floor is in view"):
        find_floor(seen(sheet((-0.5, 0.5), (2, 2.3), 0), 30))
    assert find_floor(seen(sheet((-0.5, 0.5), (2, 2.8), 0), 30)).offset == pytest.approx(2.4)


def test_a_surface_with_a_little_floor_beneath_it_is_not_the_floor() -> None:
    """A table of 15 m² hides a floor of which a strip of 6 cm shows: 2 % of what is seen, in one level surface."""
    table, strip = sheet((-2.5, 2.5), (1.2, 4.2), 0.75), sheet((-2, 2), (4.4, 4.46), 0)
    assert find_floor(seen(table, 30)).offset == pytest.approx(2.4 - 0.75)
    with pytest.raises(InputError, match="nothing that faces up lies below the rest"):
        find_floor(seen(np.concatenate([table, strip]), 30))


@pytest.mark.parametrize("tilt", [0, 30, 60])
def test_a_floor_faces_up_and_a_ceiling_does_not(tilt: int, rng: np.random.Generator) -> None:
    """Both are as large and as uneven; all that faces up is floor."""
    room = np.concatenate([sheet((-2, 2), (1, 5), 0), sheet((-2, 2), (1, 5), 2.6)])
    found = find_floor(seen(room + rng.normal(0, 0.003, room.shape), tilt))
    assert found.inlier_ratio == 1
    assert floor_error(found.normal, found.offset, floor_normal(tilt), 2.4) == pytest.approx((0, 0), abs=0.02)


@pytest.mark.parametrize("slope", [70, 80])
def test_what_leans_by_more_than_65_degrees_is_no_floor(slope: int) -> None:
    with pytest.raises(InputError, match="no floor in view"):
        find_floor(seen(sheet((-1, 1), (1.5, 3.5), 0), slope))


def wall(x: tuple[float, float], y: tuple[float, float], top: float) -> np.ndarray:
    """Sample an upright wall of the world over the line from (x[0], y[0]) to (x[1], y[1]), every 4 cm up to `top`."""
    along, up = np.meshgrid(np.arange(0, 1, 0.04 / np.hypot(x[1] - x[0], y[1] - y[0])), np.arange(0.02, top, 0.04))
    return np.stack([np.interp(along.ravel(), (0, 1), ends) for ends in (x, y)] + [up.ravel()], axis=1)


@pytest.mark.parametrize("tilt", [0, 25, 55])
def test_a_mask_with_more_wall_than_floor_gives_the_floor(tilt: int) -> None:
    """Floor along two walls, marked 60 cm too high: two thirds of the mask are wall."""
    floor = np.concatenate([sheet((-2, 2), (3.7, 4), 0), sheet((1.7, 2), (2, 3.7), 0)])
    walls = np.concatenate([wall((-2, 2), (4, 4), 0.6), wall((2, 2), (2, 4), 0.6)])
    assert len(walls) > 1.8 * len(floor)
    found = fit_floor(seen(np.concatenate([floor, walls]), tilt))
    assert floor_error(found.normal, found.offset, floor_normal(tilt), 2.4) == pytest.approx((0, 0), abs=1e-3)


def test_smeared_edges_lie_in_planes_through_the_camera_and_are_no_floor(rng: np.random.Generator) -> None:
    """Half of the mask lies on the edge of a bed, whose depth is smeared along the rays between bed and floor."""
    floor = seen(sheet((-1, 1), (3, 4), 0), 30)
    edge = seen(np.stack([np.linspace(-1, 1, len(floor)), np.full(len(floor), 2.0), np.full(len(floor), 0.5)], 1), 30)
    smeared = edge * rng.uniform(1.0, 1.35, len(edge))[:, None]
    found = fit_floor(np.concatenate([floor, smeared]))
    assert floor_error(found.normal, found.offset, floor_normal(30), 2.4) == pytest.approx((0, 0), abs=1e-3)


def test_a_camera_that_looks_straight_down_finds_its_floor(rng: np.random.Generator) -> None:
    """A quarter of the points lies anywhere."""
    floor = np.concatenate([rng.uniform(-2, 2, (900, 2)), np.full((900, 1), 2.5)], axis=1)
    found = fit_floor(np.concatenate([floor, rng.uniform((-2, -2, 0.5), (2, 2, 2.5), (300, 3))]))
    assert floor_error(found.normal, found.offset, np.array([0, 0, -1.0]), 2.5)[0] < 0.1


@pytest.mark.parametrize("slope", [2, 12])
def test_a_sloping_bed_is_not_taken_for_a_floor_that_is_out_of_view(slope: int) -> None:
    """A bed whose head is raised is all that faces up; the walls behind and beside it are upright."""
    bed = sheet((-1, 1), (2, 4), 0.6)
    bed[:, 2] += (bed[:, 1] - 2) * np.tan(np.radians(slope))
    walls = np.concatenate([wall((-1.5, 1.5), (4.2, 4.2), 2), wall((1.5, 1.5), (2, 4.2), 2)])
    points = seen(np.concatenate([bed, walls[walls[:, 2] > 1.2]]), 35)
    if slope > 5:
        with pytest.raises(InputError, match=r"leans by 1\d° against the walls"):
            find_floor(points)
    else:
        assert find_floor(points).offset == pytest.approx(1.8, abs=0.15)  # nothing tells a level bed from a floor


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("pixels", [4, 16])
def test_masks_as_people_draw_them_give_the_floor_of_rendered_rooms(seed: int, pixels: int) -> None:
    """The mask is too large by `pixels`, and a tenth of its pixels lies anywhere else."""
    room = simulate(seed, SimulateConfig(num_people=1, num_frames=1, image_size=(256, 192)))
    points = unproject_image(torch.from_numpy(room.background_depth), room.camera.intrinsics).numpy()
    mask = binary_dilation(room.background_labels == LABELS.index("floor"), np.ones((3, 3)), iterations=pixels)
    others = np.flatnonzero(~mask)
    count = min(len(others), int(0.1 * mask.sum()))
    mask.flat[np.random.default_rng(seed).choice(others, count, replace=False)] = True
    found, true = fit_floor(points[mask]), room.camera.extrinsics.double().numpy()
    angle, height = floor_error(found.normal, found.offset, true[:3, 2], float(-true[:3, 2] @ true[:3, 3]))
    assert angle < 0.5
    assert height < 0.01


def points_of(name: str, shared_data: Path) -> Float[np.ndarray, "height width 3"]:
    return unproject_image(torch.from_numpy(read_depth(name, shared_data)), KINECT).numpy()


# Columns and rows of floor, and of something else with its least height, read off the pictures by eye.
FLOORS = {
    "NYU_depth.pgm": [(slice(250, 450), slice(420, 470)), (slice(480, 570), slice(285, 310))],
    "SUN_depth.png": [(slice(200, 360), slice(380, 440)), (slice(230, 320), slice(290, 310))],
    "TUM_depth.png": [(slice(250, 360), slice(400, 440)), (slice(420, 560), slice(420, 445))],
}
OTHERS = {
    "NYU_depth.pgm": (slice(215, 315), slice(240, 330), 0.3),  # wardrobe
    "SUN_depth.png": (slice(380, 490), slice(120, 280), 0.3),  # cabinet
    "TUM_depth.png": (slice(330, 365), slice(215, 235), 0.55),  # table top
}
HEIGHTS = {"NYU_depth.pgm": (1.3, 1.9), "SUN_depth.png": (0.8, 1.5), "TUM_depth.png": (1.5, 2.1)}


@pytest.mark.parametrize("name", FLOORS)
def test_floor_of_real_rooms_is_found_without_a_mask(name: str, shared_data: Path) -> None:
    points = points_of(name, shared_data)
    found = find_floor(points)
    for columns, rows in FLOORS[name]:
        distance = np.abs(found.distance(points[rows, columns]))
        assert np.nanmedian(distance) < 0.03
    columns, rows, least = OTHERS[name]
    assert np.nanmedian(found.distance(points[rows, columns])) > least
    assert np.mean(found.distance(points)[np.isfinite(points[..., 0])] < -0.1) < 0.01
    assert HEIGHTS[name][0] < found.offset < HEIGHTS[name][1]


@pytest.mark.parametrize("number", range(len(RENDERED)))
def test_floor_of_rendered_rooms_is_level(number: int, shared_data: Path) -> None:
    """The trajectory's poses say which way is up (their world's y), and how the camera rose since the first frame."""
    poses = (shared_data / "rgbd_indoor" / "redwood_sample" / "trajectory.log").read_text().splitlines()
    pose, first = (np.loadtxt(poses[5 * i + 1 : 5 * i + 5]) for i in (number, 0))
    found, ground = (find_floor(points_of(RENDERED[i], shared_data)) for i in (number, 0))
    up = pose[:3, :3].T @ [0, 1, 0]
    assert floor_error(found.normal, 1.0, up, 1.0)[0] < 0.2
    assert found.offset - ground.offset == pytest.approx(pose[1, 3] - first[1, 3], abs=0.005)


def test_a_mask_full_of_furniture_gives_the_same_floor(shared_data: Path) -> None:
    points = points_of("TUM_depth.png", shared_data)
    found, masked = find_floor(points), fit_floor(points[280:460, 20:600].reshape(-1, 3))
    angle, height = floor_error(found.normal, found.offset, masked.normal, masked.offset)
    assert angle < 2  # the sensor's own distortion: near and far floor differ by as much
    assert height < 0.05
