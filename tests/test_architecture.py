"""Agreement of ARCHITECTURE.md with the code: columns and types of tables, formats of files, modules, imports."""

import re
import tomllib
from pathlib import Path

import pyarrow as pa
import pytest

from motion.evaluator import action_classifier, carescene
from motion.generator import model_file
from motion.metrics import learnt
from motion.sequence import MotionSequence, Scene
from ray_jobs import evaluate
from ray_jobs.common.measure_motions import SAMPLES
from ray_jobs.common.storage import REJECTED
from recon import lifting, pose_prior
from recon.regressors import hmr2_checkpoint
from tests.structure import PACKAGES, structure

REPO = Path(__file__).resolve().parent.parent
TEXT = (REPO / ".github" / "ARCHITECTURE.md").read_text()
WITH_FORMAT = (action_classifier, carescene, evaluate, hmr2_checkpoint, learnt, lifting, model_file, pose_prior)


def section(title: str) -> str:
    """Return the text below a heading, up to the next one."""
    return re.split(r"^#+ ", TEXT.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


@pytest.mark.parametrize(
    ("title", "schema"),
    [
        ("Motions", MotionSequence.SCHEMA),
        ("Scenes", Scene.SCHEMA),
        ("Rejected rows", REJECTED),
        ("`ray_jobs.evaluate`", SAMPLES),
    ],
)
def test_every_column_stands_in_its_table_with_its_type(title: str, schema: pa.Schema) -> None:
    table = section(title).rpartition("| column |")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", table, flags=re.MULTILINE))
    assert rows == {field.name: str(field.type) for field in schema}


@pytest.mark.parametrize("kind", [MotionSequence, Scene])
def test_shapes_are_those_of_the_records(kind: type[MotionSequence | Scene]) -> None:
    letters = {"person": "P", "frame": "T", "point": "N"}
    table = section("Motions" if kind is MotionSequence else "Scenes")
    for name, spec in kind.ARRAYS.items():
        axes = [*(letters[axis] for axis in spec.axes), *map(str, spec.fixed)]
        shape = f"({axes[0]},)" if len(axes) == 1 else f"({', '.join(axes)})"
        assert re.search(rf"^\| `{name}` \| [^|]+ \| {re.escape(shape)} \|", table, flags=re.MULTILINE), name


def test_every_format_stands_in_it() -> None:
    assert {module.FORMAT for module in WITH_FORMAT} == set(re.findall(r"carescene-[\w-]+/\d+", TEXT))


def test_files_and_modules_that_it_names_exist() -> None:
    files = re.findall(r"`((?:motion|recon|ray_jobs|cluster|tests)/[\w/.]*?\w+\.\w+)`", TEXT)
    assert [name for name in files if "NAME" not in name and not (REPO / name).is_file()] == []
    modules = re.findall(r"`((?:motion|recon|ray_jobs)(?:\.[a-z_0-9]+)+)", TEXT)
    paths = [REPO.joinpath(*name.split(".")) for name in modules]
    parents = [path for path in paths if not (path.with_suffix(".py").is_file() or path.is_dir())]
    assert [path for path in parents if not path.parent.with_suffix(".py").is_file() and not path.parent.is_dir()] == []


def test_the_model_that_recon_may_not_import_is_the_linters() -> None:
    contracts = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if each["name"] == "recon uses motion, but not its model")
    sentence = (
        " ".join(section("Packages and imports").split())
        .partition("does not import the model: ")[2]
        .partition(".\n")[0]
    )
    named = re.findall(r"`(?:motion\.)?(\w+)`", sentence.partition("- Code that is measured")[0])
    assert sorted(f"motion.{name}" for name in named) == sorted(contract["forbidden_modules"])


@pytest.mark.parametrize("package", PACKAGES)
def test_every_room_has_a_line_below_those_that_it_imports(package: str) -> None:
    lines = re.findall(r"^\| (\d+) \| (.*) \| (.*) \| (.*) \|$", section("Packages and imports"), flags=re.MULTILINE)
    cells = {int(level): rooms[PACKAGES.index(package)] for level, *rooms in lines}
    level = {room: line for line, cell in cells.items() for room in re.findall(r"`(\w+)`", cell)}
    shape = structure(package)
    assert set(level) == shape.rooms
    assert [(above, below) for above, below in shape.arrows if level[below] >= level[above]] == []
