"""Typed job configurations from the command line, and the exit status of jobs."""

import json
import logging
import os
import re
import shlex
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import Field, asdict
from functools import partial
from pathlib import PurePath
from typing import Any, ClassVar, Protocol, TypeVar

import ray
import tyro
import yaml
from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
from ray._private.ray_logging import global_worker_stdstream_dispatcher
from ray._private.worker import print_to_stdstream
from ray.exceptions import RayTaskError

from motion.errors import InputError, command_line
from ray_jobs.common import storage

C = TypeVar("C")
HARMLESS = re.compile(
    r"^.*Failed to kill .*actor.*\n(Traceback .*\n(\s.*\n)*.*\n)?|^Traceback .*\n(\s.*\n)*InterruptedError\b.*\n", re.M
)
"""Complaints of Ray's actors that are ended in mid-work when nothing is left to do."""


class Config(Protocol):
    """Configuration of a job: any dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


logger = logging.getLogger(__name__)


def run(job: Callable[[C], object], config: type[C], description: str) -> None:
    """Parse `config` from the command line and run the job; bad input ends in one sentence, exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    command_line.run(partial(_connected, job), config, description)


def run_preset(job: Callable[[C], object], presets: dict[str, tuple[str, C]], description: str) -> None:
    """Run a job that starts from a named configuration, each field of which the command line can override.

    Bad input ends in one sentence, exit status 2.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parse = partial(tyro.extras.overridable_config_cli, presets, prog=command_line.program(), description=description)
    command_line.exit_on_bad_input(lambda: command_line.finish(partial(_connected, job), parse()))


def connect() -> None:
    """Join the cluster that RAY_ADDRESS names (`ray job submit` sets it), else start one on this machine.

    Workers of Ray Train and read tasks of Ray Data each want a CPU at the same time, so a small machine is given four
    logical ones.
    """
    try:
        if address := os.environ.get("RAY_ADDRESS"):
            _check_answers(address)
            maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
            ray.init()
        else:
            ray.init(address="local", num_cpus=max(4, os.cpu_count() or 1))
        _keep_back_harmless_tracebacks()
    except Exception as error:  # Ray raises a plain one where a node starts too slowly
        raise InputError(_reason(error, address)) from error


def _reason(error: Exception, address: str | None) -> str:
    reason = " ".join(str(error).split())
    if not address:
        folder = tempfile.gettempdir()
        return (
            f"cannot start Ray in {folder}, which TMPDIR names: {reason}; set TMPDIR to a short, writable path, or try "
            "again where the machine was busy"
        )
    return (
        f"cannot join the Ray cluster at {address}, which RAY_ADDRESS names: {reason}; see that it runs, and that "
        "RAY_AUTH_MODE, RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH are set as they were for `ray start`"
    )


def _keep_back_harmless_tracebacks() -> None:
    """Let no traceback reach the terminal that Ray's own actors print while a good run ends."""
    global_worker_stdstream_dispatcher.remove_handler("ray_print_logs")
    global_worker_stdstream_dispatcher.add_handler("ray_print_logs", print_without_harmless)


def print_without_harmless(data: dict[str, Any]) -> None:
    """Print what a worker said, as Ray does, but for `HARMLESS`."""
    lines = HARMLESS.sub("", "".join(f"{line}\n" for line in data["lines"])).splitlines()
    if lines and data.get("actor_name") != "PlacementGroupCleaner":
        print_to_stdstream(data | {"lines": lines}, ignore_prefix=False)


def _check_answers(address: str) -> None:
    """Raise OSError unless something listens at HOST:PORT, for which Ray would wait two minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5).close()


def _connected(job: Callable[[C], object], config: C) -> None:
    connect()
    try:
        job(config)
    except RayTaskError as error:
        if isinstance(error.cause, InputError):  # of a task, whose traceback on another machine says no more
            raise InputError(str(error.cause)) from error
        raise


def check_fraction(max_fraction: float) -> None:
    """Raise InputError unless `max_rejected_fraction` is a share; NaN would switch its check off."""
    if not 0 <= max_fraction <= 1:
        raise InputError(f"max_rejected_fraction is {max_fraction:g}, expected a share from 0 to 1")


def check_rejected(
    rejected: Sequence[tuple[str, str]], asked: int, what: str, max_fraction: float, folder: str
) -> None:
    """Log the rejected records, (id, reason) pairs, and raise InputError when they are more than `max_fraction` of all.

    `asked` is the number of all records, `what` names them, `folder` is where the reasons are.
    """
    for name, reason in rejected:
        logger.warning("rejected %s: %s", name, reason)
    if len(rejected) > max_fraction * asked:
        raise InputError(
            f"{len(rejected)} of {asked} {what} were rejected, more than max_rejected_fraction = {max_fraction}; "
            f"the reasons are in {folder}, the first is {rejected[0][0]}: {rejected[0][1]}"
        )


def refuse_other_run(output: str, config: Config) -> None:
    """Raise InputError when an output belongs to another configuration, which would silently mix two runs."""
    uri, resolved = storage.join(output, "config.yaml"), to_yaml(config)
    there = storage.read_bytes(uri).decode() if storage.exists(uri) else resolved
    if there != resolved:
        changed = sorted(set(resolved.splitlines()) ^ set(there.splitlines()))
        raise InputError(
            f"{output} holds a run with another configuration ({'; '.join(line.strip() for line in changed)}); "
            "choose another --output"
        )


def refuse_other_settings(output: str, config: Config, fixed: Sequence[str]) -> None:
    """Raise InputError when the output of a job that adds to it was made with other values of the `fixed` settings."""
    uri = storage.join(output, "config.yaml")
    if storage.exists(uri):
        there, asked = _settings(uri), yaml.safe_load(to_yaml(config))
        before = json.loads(json.dumps({name: getattr(type(config), name) for name in fixed}))  # older ones lack some
        there = {name: there.get(name, before[name]) for name in fixed}
        if changed := [f"{name}: {value}" for name, value in there.items() if value != asked[name]]:
            raise InputError(f"{output} was made with {', '.join(changed)}: keep that, or take another output")


def _settings(uri: str) -> dict[str, Any]:
    try:
        return dict(yaml.safe_load(storage.read_bytes(uri)))
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise InputError(f"{uri} is damaged, expected settings by name: take another output") from error


def write_config(config: Config, output: str) -> None:
    """Write the resolved configuration beside what was made with it, once work begins."""
    storage.write_bytes(storage.join(output, "config.yaml"), to_yaml(config).encode())


def conclude(made: str, command: str, place: str) -> None:
    """Log a job's last line: what it made where, and the command that follows, whose last argument is `place`."""
    logger.info("%s; next: python -m %s %s", made, command, shlex.quote(place))


def to_yaml(config: Config) -> str:
    """Format the resolved configuration as YAML, as it is written beside every output."""
    return yaml.safe_dump(json.loads(json.dumps(asdict(config), default=_plain)), sort_keys=False)


def _plain(value: object) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{value!r} has no plain form")
