"""Real motion with captions, from the labels of the data beside the repo, in forms that `ray_jobs.prepare` reads.

    sources = write_labelled(shared_data(), Path("files"))
    python -m ray_jobs.prepare --output data --max-seconds 5 --held-out 0.2 --sources SOURCES

The captions of Bandai-Namco's and CMU's clips are ours, made from the labels "content" and "style" or "action"; nobody
described these clips one by one. Clips of one label have the same captions, those of another label other ones. Left and
right are the person's own. DeepMimic's captions are those of `motion.datasets.deepmimic`.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float

from motion.datasets.bvh_names import LAYOUTS
from motion.errors import InputError
from tests.helpers.sources.bvh import MOTION_BUILDER, write_bandai_namco, write_bvh
from tests.helpers.sources.positions import SOURCES

SHARED_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
"""Small samples of the real data sets, a folder beside the repo."""
FPS = 60.0  # of CMU's files beside the repo
FASTEST_M_S = 20.0  # in nine of CMU's 96 clips limbs fly at 22 to 71 for a frame, the others reach 14 in a kick
SALSA = ("two people dance salsa together", "a couple is dancing salsa", "two persons hold each other and dance salsa")

CONTENTS = {  # each in two ways; bye and guide are done with the right hand by all, byebye with both
    "bow": ("bows", "is bowing"),
    "bye": ("says goodbye with a small wave of the right hand", "is lifting the right hand to say goodbye"),
    "byebye": ("waves goodbye with both hands", "is waving both hands to say goodbye"),
    "call": ("calls out to somebody", "is shouting to somebody far away"),
    "dance-short": ("dances alone", "is dancing alone"),
    "dash": ("dashes forward", "is sprinting straight ahead"),
    "guide": ("shows the way with the right hand", "is pointing out the way with the right hand"),
    "kick": ("fights with kicks", "is kicking an opponent"),
    "punch": ("fights with punches", "is punching an opponent"),
    "raise-up-both-hands": ("raises both hands", "is lifting both arms up"),
    "raise-up-left-hand": ("raises the left hand", "is lifting the left arm up"),
    "raise-up-right-hand": ("raises the right hand", "is lifting the right arm up"),
    "respond": ("raises the left hand to answer a call", "is lifting the left hand in answer to a call"),
    "run": ("runs forward", "is running straight ahead"),
    "slash": ("slashes with a sword", "is fighting with a sword"),
    "walk": ("walks forward", "is walking straight ahead"),
    "walk-back": ("walks backward", "is stepping backward"),
    "walk-left": ("walks diagonally forward to the left", "is walking to the left without turning"),
    "walk-right": ("walks diagonally forward to the right", "is walking to the right without turning"),
    "walk-turn-left": ("walks forward and turns left", "is walking around a corner to the left"),
    "walk-turn-right": ("walks forward and turns right", "is walking around a corner to the right"),
    "wave-both-hands": ("waves with both hands", "is waving both arms"),
    "wave-left-hand": ("waves with the left hand", "is waving the left arm"),
    "wave-right-hand": ("waves with the right hand", "is waving the right arm"),
}
STYLES = {  # who does it, and how
    "active": ("an active person", "full of energy"),
    "angry": ("an angry person", "angrily"),
    "childish": ("a childish person", "like a child"),
    "chimpira": ("a thug", "like a swaggering thug"),
    "elderly": ("an elderly person", "like an elderly person"),
    "exhausted": ("an exhausted person", "in exhaustion"),
    "feminine": ("a feminine person", "in a feminine way"),
    "giant": ("a giant", "like a heavy giant"),
    "happy": ("a happy person", "happily"),
    "masculine": ("a masculine person", "in a masculine way"),
    "masculinity": ("a tough man", "like a tough man"),
    "musical": ("a musical person", "to the rhythm of music"),
    "normal": ("a person", "in a normal way"),
    "not-confident": ("an insecure person", "without confidence"),
    "old": ("an old person", "like an old person"),
    "proud": ("a proud person", "proudly"),
    "sad": ("a sad person", "sadly"),
    "tired": ("a tired person", "tiredly"),
    "youthful": ("a youthful person", "in a youthful way"),
}
STYLE_PATTERNS = ("dataset-{}_{label}_{style}_{}", "{style}__{}", "{style}_{}", "humanoid3d_{style}")
"""Names of files by which `prepare --held-out-by style` groups them.

Groups are Bandai-Namco's styles, the two sides on which CMU's clips come, the salsa couple, each clip of DeepMimic.
"""
ACTIONS = {
    "basketball": ("a person plays basketball", "someone is dribbling a basketball"),
    "basketball_signal": ("a basketball referee gives signals with the arms", "someone is giving basketball signals"),
    "directing_traffic": ("a person directs traffic with the arms", "someone is directing traffic"),
    "jumping": ("a person jumps", "someone is jumping"),
    "running": ("a person runs", "someone is running"),
    "soccer": ("a person plays soccer", "someone is kicking a soccer ball"),
    "walking": ("a person walks", "someone is walking"),
    "washwindow": ("a person washes a window", "someone is wiping a window"),
}


def shared_data() -> Path:
    """Return the folder `SHARED_DATA`; raises InputError where it is missing."""
    if not SHARED_DATA.is_dir():
        raise InputError(
            f"no folder {SHARED_DATA}, expected samples of the real data sets that this benchmark measures"
        )
    return SHARED_DATA


def write_labelled(shared_data: Path, folder: Path) -> tuple[str, ...]:
    """Write all labelled motion as BVH files with captions; return the `--sources` to prepare it with."""
    bandai, actions, salsa = (folder / name for name in ("bandai_namco", "cmu_8actions", "cmu_salsa_pairs"))
    write_bandai_namco(shared_data / bandai.name / "bandai_namco_30fps.npz", bandai, None)
    for row in _rows(shared_data / bandai.name):
        _describe(bandai / row["clip"], captions(row["content"], row["style"]))
    action_of = {row["clip"]: row["action"] for row in _rows(shared_data / actions.name)}
    for name, joints in _joints("cmu", shared_data):
        if _fastest(joints) < FASTEST_M_S:
            write_positions(actions / f"{name}.bvh", joints)
            _describe(actions / name, ACTIONS[action_of[name]])
    pairs = ["person1,person2"]
    for name, joints in _joints("cmu_salsa", shared_data):
        write_positions(salsa / f"{name}.bvh", joints)
        if name.startswith("60_"):
            _describe(salsa / name, SALSA)
            pairs.append(f"{salsa.name}/{name}.bvh,{salsa.name}/{name.replace('60_', '61_')}.bvh")
    (folder / "pairs.csv").write_text("\n".join(pairs) + "\n")
    return f"bvh:{folder}", f"deepmimic:{shared_data / 'deepmimic' / 'motions'}"


def captions(content: str, style: str) -> tuple[str, str, str]:
    """Word Bandai-Namco's labels in three ways that name both."""
    does, is_doing = CONTENTS[content]
    who, how = STYLES[style]
    return f"{who} {does}", f"a person {does} {how}", f"{who} {is_doing}"


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "clips.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _describe(motion: Path, texts: tuple[str, ...]) -> None:
    motion.with_name(f"{motion.name}.txt").write_text("\n".join(texts) + "\n")


Joints = dict[str, Float[np.ndarray, "frame 3"]]
"""Joints with SMPL's names and their positions: metres, Y up."""


def _joints(source: str, shared_data: Path) -> Iterator[tuple[str, Joints]]:
    """Read name and joints of each clip of `SOURCES[source]`, of which only positions are known."""
    archive, wanted = np.load(shared_data / SOURCES[source].file), SOURCES[source].names
    numbers = {wanted[name]: number for number, name in enumerate(archive["joint_names"]) if name in wanted}
    for key in archive.files:
        if key.endswith("|pos_m"):
            positions = archive[key].astype(np.float64)
            yield key.removesuffix("|pos_m"), {name: positions[:, number] for name, number in numbers.items()}


def _fastest(joints: Joints) -> float:
    """Compute the greatest speed in m/s."""
    return max(float(np.linalg.norm(np.diff(track, axis=0), axis=-1).max()) for track in joints.values()) * FPS


def write_positions(path: Path, joints: Joints) -> None:
    """Write a BVH file in which each joint hangs on the root and has position channels.

    In its zero pose all joints lie along x, where no one stands, so that the reader takes head and feet from the
    positions: there are no rotations to turn them by.
    """
    in_file = LAYOUTS[MOTION_BUILDER].joints
    tracks = {in_file[name]: track for name, track in joints.items() if name in in_file}
    root = (joints["left_hip"] + joints["right_hip"]) / 2
    positions = np.stack([root, *(track - root for track in tracks.values())], axis=1)
    along_x = np.outer(np.arange(positions.shape[1]), [1.0, 0.0, 0.0])
    still = np.tile(np.eye(3), (*positions.shape[:2], 1, 1))
    parents = [-1] + [0] * len(tracks)
    write_bvh(path, ["Hips", *tracks], parents, along_x, still, root, FPS, positions=positions)
