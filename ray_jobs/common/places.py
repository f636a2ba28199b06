"""Places that a job reads and writes, settled where the command was given, so that they mean the same to every process.

A place is a folder or file, or a URI that pyarrow knows. What is settled is absolute: workers of a cluster and a job
that is started again stand in other folders. `~` is the home of the user who gives the command.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote

import ray
from ray._private.runtime_env.constants import RAY_JOB_CONFIG_JSON_ENV_VAR
from ray.exceptions import NodeDiedError, TaskUnschedulableError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from motion.errors import InputError
from motion.errors.command_line import FOLDED_URI, at_home

KINDS = ("interclip:", "humanml3d:", "clip:local-dir:")
"""Words before the path of an evaluator or of a text encoder."""
LEFT = (TaskUnschedulableError, NodeDiedError, WorkerCrashedError)
"""Errors of a task that was to run on a node that left the cluster, which Ray lists for some seconds more."""
WEIGHTS = (".bin", ".ckpt", ".npz", ".pkl", ".pt", ".pth", ".safetensors")


def settle(config: object, *inputs: str) -> None:
    """Replace a frozen configuration's fields `inputs` and output by absolute places; call it in `__post_init__`.

    Raises InputError for a URI that lost a slash, and for places that a submitted job cannot mean; see `place`.
    """
    for name in (*inputs, "output"):
        value = getattr(config, name, None)
        if isinstance(value, str | Path):
            object.__setattr__(config, name, place(value, f"--{name.replace('_', '-')}", written=name == "output"))


def settle_files(config: object, *names: str) -> None:
    """Replace fields that name a network or a file by the file's absolute path where there is such a file."""
    for name in names:
        if value := getattr(config, name):
            settled = file_place(str(value), f"--{name.replace('_', '-')}", _is_path(value))
            object.__setattr__(config, name, type(value)(settled))


def file_place(value: str, what: str, is_path: bool) -> str:
    """Settle a path, also one behind a word of `KINDS`, where there is such a file; another name stays."""
    kind = next((kind for kind in KINDS if value.startswith(kind)), "")
    path = value.removeprefix(kind)
    return kind + place(path, what) if (kind or is_path) and at_home(path).exists() else value


def require_weights(config: object, *names: str) -> None:
    """Raise InputError where a field names a file of weights that is missing: now rather than on a GPU node."""
    for name in names:
        value = getattr(config, name)
        if _is_path(value) and "://" not in str(value) and Path(value).suffix in WEIGHTS and not Path(value).exists():
            raise InputError(f"--{name.replace('_', '-')} is {value}, and there is no such file")


def _is_path(value: object) -> bool:
    """Tell whether a setting looks like a path; it may be a network's name, a hub's or an extension's, too."""
    return isinstance(value, Path) or (isinstance(value, str) and ("/" in value or bool(Path(value).suffix)))


def place(value: str | Path, what: str, *, written: bool = False) -> str:
    """Make a path absolute, from the current folder or the home on; a URI stays as it is, but `file://` is a path.

    `what` names the setting in the InputError that is raised for a URI that lost a slash, for a relative path in a job
    that `ray job submit` started, which stands in a folder of Ray's (what it reads may come in its --working-dir), and
    for an output in a folder that Ray deletes.
    """
    text = str(value)
    if FOLDED_URI.match(text):
        raise InputError(f"{what} is {text!r}, expected a path or a URI with two slashes such as s3://bucket/folder")
    if not text or re.match("file://[^/]", text):
        raise InputError(f"{what} is {text!r}, expected a path, or a URI such as s3://bucket/folder or file:///folder")
    if "://" in text and not text.startswith("file://"):
        return text
    path = at_home(unquote(text.removeprefix("file://")) if "://" in text else text)
    if not path.is_absolute() and RAY_JOB_CONFIG_JSON_ENV_VAR in os.environ and not (_came_along(path) and not written):
        raise InputError(
            f"{what} is {text!r}, a path from the current folder on, and a submitted job does not stand where it was "
            f"submitted: give the whole path, such as $PWD/{text}, or a URI"
        )
    path = path.absolute()
    if written and _deleted_by_ray(path):
        raise InputError(f"{what} is {path}, in a folder that Ray deletes after the job: give another path, or a URI")
    return str(path)


def _came_along(path: Path) -> bool:
    """Tell whether a relative path names something that was sent along with a submission."""
    return path.exists() and _deleted_by_ray(Path.cwd())


def _deleted_by_ray(path: Path) -> bool:
    return "/runtime_resources/working_dir_files/" in f"{path}/"


def check_seen(*places: str) -> None:
    """Raise InputError unless every node of the cluster sees each of these places that is a settled path here.

    A node that joins later is not asked, nor one that leaves meanwhile. URIs are taken to be the same everywhere, names
    of networks are no paths.
    """
    paths = [each for each in places if Path(each).is_absolute() and Path(each).exists()]
    here = ray.get_runtime_context().get_node_id()
    others = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] != here]
    contents = {path: _fingerprint(path) for path in paths}
    on_node = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in others]
    asked = [_unseen.options(scheduling_strategy=strategy).remote(contents) for strategy in on_node]
    for node, answer in zip(others, asked, strict=True):
        with suppress(*LEFT):
            if unseen := ray.get(answer):
                raise InputError(
                    f"node {node['NodeManagerHostname']} of this cluster does not see {unseen[0]} as this node does: "
                    "put it on storage that all nodes share, or give a URI"
                )


def _fingerprint(path: str) -> str:
    """Tell what lies at a path: the size of a file, the first names in a folder; empty for nothing."""
    place = Path(path)
    if place.is_dir():
        return " ".join(["folder", *sorted(each.name for each in place.iterdir())[:100]])
    return f"file of {place.stat().st_size}" if place.exists() else ""


@ray.remote(num_cpus=0)
def _unseen(contents: dict[str, str]) -> list[str]:
    return [path for path, content in contents.items() if _fingerprint(path) != content]
