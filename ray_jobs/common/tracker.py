"""Figures and files of a job, sent to MLflow by a thread: no store that is away, slow or full can end the job.

What a store does not take is kept and tried again until it does. Where the job ended meanwhile it lies in its output,
and the same command sends it. A store has each value once, whatever was sent twice.
"""

import base64
import json
import logging
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric

from ray_jobs.common import storage, tracking

UNSENT_FILE = "unsent.json"
"""File of an output, and of a checkpoint, that holds what MLflow has not taken."""
MOST_FIGURES = 100_000
"""Figures that wait at most; of more the oldest are lost, with a warning."""
FIGURES_AT_ONCE = 20
"""Figures that one request holds."""
LAST_WAIT_S = 30.0
"""Seconds that the end of a job waits for the store."""
RETRY_S = (1.0, 30.0)
"""Seconds between two attempts, the first and the longest."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Figures:
    """Metrics of one step."""

    step: int
    """Step of the job."""
    time_ms: int
    """Milliseconds since 1970."""
    values: dict[str, float]
    """Values by name."""


@dataclass
class Unsent:
    """Figures, files and status that a store has not taken yet."""

    figures: list[Figures] = field(default_factory=list)
    """Metrics in the order in which they were measured."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Contents by their paths among the run's artifacts."""
    status: str | None = None
    """MLflow's name for the job's end: FINISHED or FAILED."""

    def __bool__(self) -> bool:
        return bool(self.figures or self.files or self.status)

    def to_json(self) -> bytes:
        """Return the content of a file that `from_json` reads."""
        files = {path: base64.b64encode(content).decode() for path, content in self.files.items()}
        return json.dumps(asdict(self) | {"files": files}).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Unsent":
        """Read what `to_json` wrote."""
        read = json.loads(content)
        files = {path: base64.b64decode(text) for path, text in read["files"].items()}
        return cls([Figures(**each) for each in read["figures"]], files, read["status"])


class Tracker:
    """Run of a job's output in an MLflow store, written by a thread that outlives any failure of the store.

    The run is opened once there is something to send, so that of two processes only the one at work opens it. A
    `training` has a run of its own, and goes on from checkpoints: a step that its run has is not sent again.
    """

    def __init__(self, store: str, config: tracking.Tracked, training: bool = False) -> None:
        self.store = store
        self._config, self._training = config, training
        self._figures: deque[Figures] = deque(maxlen=MOST_FIGURES)
        self._files: dict[str, bytes] = {}
        self._status: str | None = None
        self._run: _OpenRun | None = None
        self._changed, self._closed, self._away = threading.Condition(), False, False
        for name, value in tracking.IMPATIENT.items():
            os.environ.setdefault(name, value)  # MLflow's client would try again for minutes by itself
        self._thread = threading.Thread(target=self._send_all, daemon=True)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log metrics of one step; returns at once."""
        self.take(Unsent([Figures(step, time.time_ns() // 1_000_000, dict(values))]))

    def log_file(self, path: str, content: bytes) -> None:
        """Log a file under a path among the run's artifacts; returns at once."""
        self.take(Unsent(files={path: content}))

    def end(self, status: str) -> None:
        """Say how the job ended, FINISHED or FAILED; returns at once."""
        self.take(Unsent(status=status))

    def take(self, unsent: Unsent) -> None:
        """Take over what is to be sent, such as what another process could not send; returns at once."""
        with self._changed:
            if len(self._figures) + len(unsent.figures) > MOST_FIGURES:
                logger.warning("%d figures wait for MLflow at %s: the oldest are lost", MOST_FIGURES, self.store)
            self._figures.extend(unsent.figures)
            self._files |= unsent.files
            self._status = unsent.status or self._status
            self._changed.notify_all()
            if unsent and not self._thread.is_alive():
                self._thread.start()

    def unsent(self) -> Unsent:
        """Return what the store has not taken yet."""
        with self._changed:
            return Unsent(list(self._figures), dict(self._files), self._status)

    def close(self) -> Unsent:
        """Wait up to `LAST_WAIT_S` until all is sent, end the thread and return what the store has not taken."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting(), LAST_WAIT_S)
            self._closed = True
            self._changed.notify_all()
        return self.unsent()

    def _waiting(self) -> bool:
        return bool(self._figures or self._files or self._status)

    def _send_all(self) -> None:
        pause = RETRY_S[0]
        while not self._closed:
            try:
                self._send()
            except Exception as error:  # each kind of store fails in ways of its own, and hours of work must not
                self._warn(error)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed, pause)
                pause = min(2 * pause, RETRY_S[1])
            else:
                pause = RETRY_S[0]
                with self._changed:
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._closed or self._waiting())

    def _send(self) -> None:
        """Send one request of what waits: figures, then files, then the end; open the run first where it is not."""
        if self._run is None:
            self._run = _OpenRun(self.store, self._config, self._training)
        if self._away:
            logger.info("MLflow at %s is back", self.store)
            self._away = False
        unsent = self.unsent()
        if unsent.figures:
            self._run.log(unsent.figures[:FIGURES_AT_ONCE])
            with self._changed:
                while self._figures and self._figures[0] in unsent.figures[:FIGURES_AT_ONCE]:
                    self._figures.popleft()
        elif unsent.files:
            path, content = next(iter(unsent.files.items()))
            self._run.log_file(path, content)
            with self._changed:
                del self._files[path]
        elif unsent.status:
            self._run.end(unsent.status)
            with self._changed:
                self._status = None

    def _warn(self, error: Exception) -> None:
        self._run = None  # opened anew, as the store may hold what it seemed not to take
        if not self._away:
            why = tracking.reason(error, self.store)
            logger.warning("MLflow at %s takes nothing: %s; the job goes on and sends it when it can", self.store, why)
        self._away = True


class _OpenRun:
    """Run that is open in the store."""

    def __init__(self, store: str, config: tracking.Tracked, training: bool) -> None:
        self._client, self._training = MlflowClient(store), training
        self._id = tracking.start_run(store, config, tracking.training_id(config.output) if training else None)
        self._stored: dict[str, set[int]] = {}

    def log(self, figures: list[Figures]) -> None:
        """Log metrics of some steps."""
        metrics = [
            Metric(name, value, each.time_ms, each.step)
            for each in figures
            for name, value in each.values.items()
            if each.step not in self._steps(name)
        ]
        self._client.log_batch(self._id, metrics=metrics)

    def _steps(self, name: str) -> set[int]:
        """List the steps of a metric that were in the store when the run was opened here."""
        if self._training and name not in self._stored:
            self._stored[name] = {metric.step for metric in self._client.get_metric_history(self._id, name)}
        return self._stored.get(name, set())

    def log_file(self, path: str, content: bytes) -> None:
        """Log a file under a path among the run's artifacts."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / Path(path).name
            file.write_bytes(content)
            inside = str(Path(path).parent)
            self._client.log_artifact(self._id, str(file), None if inside == "." else inside)

    def end(self, status: str) -> None:
        """Mark how the job ended."""
        self._client.set_terminated(self._id, status)


@contextmanager
def tracked(config: tracking.Tracked, training: bool = False) -> Iterator[Tracker]:
    """Track a job in the store that its configuration names, and mark its end there; `training` as in `Tracker`.

    What an earlier job of this output could not send is sent, too; what the store does not take at the end lies in
    the output. Raises InputError for a store that can never take anything (`tracking.open_store`).
    """
    tracker = Tracker(tracking.open_store(config.output, config.tracking_uri), config, training)
    file = storage.join(config.output, UNSENT_FILE)
    if storage.exists(file):
        tracker.take(replace(Unsent.from_json(storage.read_bytes(file)), status=None))
    try:
        yield tracker
    except BaseException:
        tracker.end("FAILED")
        raise
    else:
        tracker.end("FINISHED")
    finally:
        _leave(tracker.close(), tracker.store, file)


def send_rest(config: tracking.Tracked) -> None:
    """Send what a training that has finished could not send."""
    if storage.exists(storage.join(config.output, UNSENT_FILE)):
        with tracked(config, training=True):
            pass


def read_unsent(folder: str | Path) -> Unsent:
    """Read what was unsent at a checkpoint."""
    return Unsent.from_json((Path(folder) / UNSENT_FILE).read_bytes())


def _leave(unsent: Unsent, store: str, file: str) -> None:
    if unsent:
        storage.write_bytes(file, unsent.to_json())
        logger.warning("MLflow at %s did not take all: the rest is in %s, the same command sends it", store, file)
    elif storage.exists(file):
        storage.delete_file(file)
