"""Persons of a simulated room: their roles, and where they are placed, by rejection sampling.

A person is accepted who stays inside the walls, out of furniture they do not rest on, apart from the others, and mostly
inside the picture. Coordinates are the camera's world (Z up, metres).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy.spatial import cKDTree
from torch import Tensor

from motion.body import Body
from motion.clips.transforms import transform
from motion.rotations import yaw_matrix
from motion.sequence import MotionSequence
from motion.skeleton import JOINT, PERSON_CLASSES
from recon.camera import Camera
from recon.simulate import performances, poses
from recon.simulate.furniture import blanket
from recon.simulate.performances import Actor
from recon.simulate.render import Outline
from recon.simulate.rooms import Piece, Place, SimulatedRoom

MAX_BETA = 2.0
INTRUDING_SHARE = 0.004  # share of a person's skin that may be inside furniture or beyond a wall
APART_M = 0.2  # least distance between the joints of two persons
IN_IMAGE_SHARE = 0.75  # share of a person's joints inside the picture, over all frames
SHOWN_SHARE = 0.6  # share of a person's joints inside the picture with nothing of the room before them
NEAREST_M, LIMB_M = 0.3, 0.1  # from the camera; from a joint to the skin or a mattress
TRIES, WALK_TRIES = 25, 30
CHECKED_FRAMES = 12  # number of frames whose skin is checked
CLASS_INDEX = {name: index for index, name in enumerate(PERSON_CLASSES)}
FASTEST_TURN_RAD_S = 1.6  # of a walking person
ARRIVED_M = 0.5  # distance at which a goal of a walk counts as reached
AROUND_WALKER_M = np.array([[x, y, z] for x in (-0.2, 0.2) for y in (-0.2, 0.2) for z in (0.1, 0.4, 1.0)])
BLANKET_SHARE = 0.5  # of the persons in bed who have a blanket


@dataclass(frozen=True, eq=False)
class Stage:
    """Everything that decides whether a person can be placed: room, camera, body, time and clips."""

    room: SimulatedRoom
    camera: Camera
    body: Body
    fps: float
    num_frames: int
    outline: Outline
    """Low-resolution depth of the empty room, which tells who would be hidden."""
    movers: tuple[tuple[MotionSequence, int], ...]
    """Pairs of a clip and the index of its person, from which free movers take their motion."""
    free_share: float
    """Share of the persons who are not carers and move freely by one of `movers`."""


@dataclass(frozen=True, eq=False)
class Person:
    """One person placed in the room."""

    motion: MotionSequence
    """Record of this one person in the camera's world."""
    role: str
    """Name of what they do, such as "walking", "lying_in_bed" or "carer"."""
    owner: int | None
    """Index of the piece of furniture they rest on; None when they rest on none."""
    place: Place | None
    """Place on that piece of furniture; None when they rest on none."""


Role = Callable[[np.random.Generator, Stage, Actor, Sequence[Person]], Person | None]


def populate(rng: np.random.Generator, stage: Stage, count: int) -> list[Person]:
    """Place up to `count` persons; return fewer when the room does not hold them."""
    people: list[Person] = []
    for _ in range(TRIES * count):
        if len(people) == count:
            break
        carer = rng.random() < 0.6 and any(p.motion.person_class[0] == CLASS_INDEX["patient"] for p in people)
        free = rng.random() < stage.free_share
        role: Role = _carer if carer else _moving if free else _ROLES[rng.choice(len(_ROLES), p=_SHARES)][0]
        person = role(rng, stage, _actor(rng, stage), people)
        if person is not None and _fits(stage, person, people):
            people.append(person)
    return people


def _actor(rng: np.random.Generator, stage: Stage) -> Actor:
    betas = torch.from_numpy(rng.normal(size=10).clip(-MAX_BETA, MAX_BETA)).float()
    return Actor(stage.body, betas, stage.fps, stage.num_frames)


def _fits(stage: Stage, person: Person, others: Sequence[Person]) -> bool:
    motion = person.motion
    inside, free = _shown(stage, torch.from_numpy(motion.joints[0]))
    if inside.mean() < IN_IMAGE_SHARE or free.mean() < SHOWN_SHARE:
        return False
    if any(_distance(motion, other.motion) < APART_M for other in others):
        return False
    return float(stage.room.intruding(skin(stage.body, motion), person.owner).mean()) < INTRUDING_SHARE


def _shown(
    stage: Stage, joints: Float[Tensor, "frame 24 3"]
) -> tuple[Bool[np.ndarray, "frame 24"], Bool[np.ndarray, "frame 24"]]:
    """Mark the joints inside the picture, and those among them that nothing in the room hides (True = shown)."""
    distance = stage.camera.to_camera(joints)[..., 2].numpy()
    cells = stage.camera.project(joints).numpy().clip(-1e4, 1e4) / stage.outline.step
    columns, rows = np.moveaxis(np.floor(cells).astype(int), -1, 0)
    height, width = stage.outline.depth.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height) & (distance > NEAREST_M)
    met = stage.outline.depth[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    return inside, inside & (distance < met + LIMB_M)


def skin(body: Body, motion: MotionSequence) -> Float32[np.ndarray, "frame point 3"]:
    """Sample every tenth vertex in up to a dozen frames, in the world (metres)."""
    chosen = np.unique(np.linspace(0, motion.num_frames - 1, CHECKED_FRAMES).astype(int))
    return body.vertices(motion.parameters[:, chosen])[0, :, ::10].numpy()


def tuck_in(rng: np.random.Generator, stage: Stage, people: Sequence[Person]) -> SimulatedRoom:
    """Add blankets over some of the persons in bed, up to hips, belly or chest; return the room with them."""
    blankets = []
    for person in people:
        if person.place is not None and person.place.kind == "lying" and rng.random() < BLANKET_SHARE:
            bed, points = stage.room.pieces[person.place.owner], skin(stage.body, person.motion)
            blankets.append(blanket(rng, bed, person.place, points, rng.uniform(-0.4, 0.1)))
    return replace(stage.room, pieces=(*stage.room.pieces, Piece(tuple(blankets))))


def _distance(a: MotionSequence, b: MotionSequence) -> float:
    """Compute the least distance (metres) between two persons' joints in the same frame, every third frame."""
    pairs = zip(a.joints[0, ::3], b.joints[0, ::3], strict=True)
    return float(min(cKDTree(first).query(second)[0].min() for first, second in pairs))


def _put(performance: MotionSequence, position: np.ndarray, yaw: float, body: Body, kind: str) -> MotionSequence:
    """Move a performance to a position and yaw in the world and set its person class."""
    moved = transform(performance, yaw_matrix(yaw), np.asarray(position, dtype=np.float32), body)
    return replace(moved, person_class=np.array([CLASS_INDEX[kind]], dtype=np.int8))


def _anywhere(rng: np.random.Generator, room: SimulatedRoom) -> Float32[np.ndarray, "3"]:
    """Draw a point on the floor, at least 0.3 m from the walls."""
    x, y = room.inside.half[:2] - 0.3
    local = np.array([rng.uniform(-x, x), rng.uniform(-y, y), 0])
    return (yaw_matrix(room.inside.yaw) @ local + room.inside.center * [1, 1, 0]).astype(np.float32)


def _resting(rng: np.random.Generator, stage: Stage, kind: str, others: Sequence[Person]) -> Place | None:
    """Draw a free place of this kind; None when all are taken."""
    taken = [person.place for person in others]
    free = [place for place in stage.room.places if place.kind == kind and place not in taken]
    return free[rng.integers(len(free))] if free else None


def _lying_in_bed(rng: np.random.Generator, stage: Stage, actor: Actor, others: Sequence[Person]) -> Person | None:
    """Place a patient in a bed, lying or sitting; None when no bed is free."""
    place = _resting(rng, stage, "lying", others)
    if place is None:
        return None
    if rng.random() < 0.2:
        performance = poses.sitting(rng, actor, "sitting_in_bed", 0.0, rng.uniform(10, 35))
        along, role = -rng.uniform(0.3, 0.5), "sitting_in_bed"
    else:
        posture = str(rng.choice(["back", "left", "right", "belly"], p=[0.6, 0.15, 0.15, 0.1]))
        performance = poses.lying(rng, actor, "laying_in_bed", posture)
        along, role = rng.uniform(-0.12, 0.05), "lying_in_bed"
    position = place.position + yaw_matrix(place.yaw) @ np.array([rng.uniform(-0.08, 0.08), along, 0])
    return Person(
        _put(performance, position, place.yaw + rng.normal() * 0.04, stage.body, "patient"), role, place.owner, place
    )


def _sitting_on(kind: str, action: str) -> Role:
    """Make the role that sits on places of a kind."""

    def role(rng: np.random.Generator, stage: Stage, actor: Actor, others: Sequence[Person]) -> Person | None:
        place = _resting(rng, stage, kind, others)
        if place is None:
            return None
        performance = poses.sitting(rng, actor, action, float(place.position[2]), rng.uniform(-8, 12))
        who = str(rng.choice(["patient", "person"], p=[0.7, 0.3]))
        yaw = place.yaw + rng.normal() * 0.08
        return Person(_put(performance, place.position, yaw, stage.body, who), action, place.owner, place)

    return role


def _on_floor(make: Callable[[np.random.Generator, Actor], MotionSequence], name: str, who: str) -> Role:
    """Make the role that performs anywhere on the floor."""

    def role(rng: np.random.Generator, stage: Stage, actor: Actor, others: Sequence[Person]) -> Person | None:
        position, yaw = _anywhere(rng, stage.room), rng.uniform(-math.pi, math.pi)
        return Person(_put(make(rng, actor), position, yaw, stage.body, who), name, None, None)

    return role


def _getting_up(rng: np.random.Generator, actor: Actor) -> MotionSequence:
    """Perform lying on the floor, getting up and, when time allows, lying down again."""
    clip = performances.clips(actor.body)[str(rng.choice(["getup_faceup", "getup_facedown"]))]
    return performances.of_clip(rng, actor, clip, share=rng.uniform(0.05, 0.15))


def _crawling(rng: np.random.Generator, actor: Actor) -> MotionSequence:
    return performances.of_clip(rng, actor, performances.clips(actor.body)["crawl"], share=0.05)


def _lying_on_floor(rng: np.random.Generator, actor: Actor) -> MotionSequence:
    posture = str(rng.choice(["back", "left", "right", "belly"]))
    performance = poses.lying(rng, actor, "laying_on_floor", posture)
    return performances.grounded(performance, actor.body)


def _moving(rng: np.random.Generator, stage: Stage, actor: Actor, others: Sequence[Person]) -> Person | None:
    """Place one of the clips for free movement anywhere on the floor."""
    clip, person = stage.movers[rng.integers(len(stage.movers))]
    performance = performances.of_clip(rng, actor, clip, person)
    moved = _put(performance, _anywhere(rng, stage.room), rng.uniform(-math.pi, math.pi), stage.body, "person")
    return Person(moved, "moving", None, None)


def _walking(rng: np.random.Generator, stage: Stage, actor: Actor, others: Sequence[Person]) -> Person | None:
    """Place a walk along a random path that stays clear of furniture; None when none is found."""
    who = str(rng.choice(["patient", "medical_staff", "person"], p=[0.35, 0.4, 0.25]))
    pace = rng.uniform(0.45, 1.0)
    for _ in range(WALK_TRIES):
        path, headings = _path(rng, stage, pace * performances.walk_speed(stage.body))
        if not stage.room.intruding(path[:, None] + AROUND_WALKER_M, None).any():
            performance = performances.walking(rng, actor, path[:, :2], headings, pace)
            return Person(_put(performance, np.zeros(3), 0.0, stage.body, who), "walking", None, None)
    return None


def _path(
    rng: np.random.Generator, stage: Stage, speed: float
) -> tuple[Float[np.ndarray, "frame 3"], Float[np.ndarray, " frame"]]:
    """Draw positions (metres) and headings (rad from +y) of a walk from one random floor point to the next."""
    position, goal = _anywhere(rng, stage.room).astype(float), _anywhere(rng, stage.room)
    heading = _towards(goal - position)
    path, headings = np.zeros((stage.num_frames, 3)), np.zeros(stage.num_frames)
    for frame in range(stage.num_frames):
        path[frame], headings[frame] = position, heading
        position = position + speed / stage.fps * np.array([-math.sin(heading), math.cos(heading), 0])
        if np.linalg.norm(goal - position) < ARRIVED_M:
            goal = _anywhere(rng, stage.room)
        wanted = (_towards(goal - position) - heading + math.pi) % (2 * math.pi) - math.pi
        heading += float(np.clip(wanted, -FASTEST_TURN_RAD_S / stage.fps, FASTEST_TURN_RAD_S / stage.fps))
    return path, headings


def _towards(way: Float[np.ndarray, "3"]) -> float:
    """Compute the angle (rad) from +y to a direction over the floor, counter-clockwise."""
    return math.atan2(-way[0], way[1])


def _carer(rng: np.random.Generator, stage: Stage, actor: Actor, others: Sequence[Person]) -> Person | None:
    """Place a carer beside a patient, facing them and bending as low as the patient is; None without a patient."""
    patients = [p for p in others if p.motion.person_class[0] == CLASS_INDEX["patient"]]
    if not patients:
        return None
    patient = patients[rng.integers(len(patients))].motion
    target = (patient.joints[0, :, [0, JOINT["spine3"]]].mean(axis=(0, 1)) * [1, 1, 0]).astype(np.float32)
    around = rng.uniform(-math.pi, math.pi)
    away = np.array([math.cos(around), math.sin(around), 0], dtype=np.float32)
    position = target + rng.uniform(0.5, 0.9) * away
    low = float(patient.joints[0, :, JOINT["spine3"], 2].mean())
    bow = rng.uniform(0.2, 1.0) * np.clip(70 * (1.3 - low), 5, 75)
    performance = poses.standing(rng, actor, float(bow))
    yaw = _towards(-away) + rng.normal() * 0.2
    return Person(_put(performance, position, yaw, stage.body, "medical_staff"), "carer", None, None)


_ROLES: tuple[tuple[Role, float], ...] = (
    (_walking, 0.23),
    (_lying_in_bed, 0.22),
    (_sitting_on("bed_edge", "sitting_on_bed_edge"), 0.1),
    (_sitting_on("chair", "sitting_in_chair"), 0.1),
    (_sitting_on("sofa", "sitting_in_chair"), 0.1),
    (_on_floor(_getting_up, "getting_up", "patient"), 0.1),
    (_on_floor(_lying_on_floor, "lying_on_floor", "patient"), 0.06),
    (_on_floor(_crawling, "crawling", "patient"), 0.04),
    (_on_floor(poses.standing, "standing", "person"), 0.05),
)
_SHARES = [share for _, share in _ROLES]
