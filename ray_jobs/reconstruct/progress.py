"""Progress of the job while it runs: on the console, in Ray's metrics, and in MLflow where a store is given."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ray.util.metrics import Counter, Gauge
from tqdm import tqdm

from ray_jobs.common.flow import Flow
from ray_jobs.common.tracker import Tracker

SHOWN_EVERY_S = 10.0


class Progress:
    """Bar on the console, with rates, the share of time in which each stage computes, and how many were rejected.

    The same numbers are metrics of Ray (`ray_carescene_reconstruct_…`, which its dashboard's Prometheus collects).
    """

    def __init__(self, total: int, before: int, tracker: Tracker | None) -> None:
        """Begin with `before` of `total` sequences done."""
        self.flow = Flow()
        self._bar = tqdm(total=total, initial=before, desc="reconstruct", unit="sequence")
        self._counts = dict.fromkeys(("frames", "person_frames", "rejected"), 0)
        self._shown, self._tracker = time.monotonic(), tracker
        self._sequences = Counter("carescene_reconstruct_sequences", "Sequences that ended.", ("outcome",))
        self._rates = Gauge("carescene_reconstruct_per_second", "Mean rate since the first sequence.", ("what",))
        self._busy = Gauge("carescene_reconstruct_busy", "Share of time in which a stage computes.", ("stage",))

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._show()
        self._bar.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row that was written or rejected."""
        self.flow.add(row["visits"])
        self._counts["frames"] += int(row["frames"])
        self._counts["person_frames"] += int(row["person_frames"])
        self._counts["rejected"] += bool(row["reason"])
        self._sequences.inc(tags={"outcome": "rejected" if row["reason"] else "written"})
        self._bar.update()
        if time.monotonic() - self._shown >= SHOWN_EVERY_S:
            self._show()

    def _show(self) -> None:
        self._shown = time.monotonic()
        numbers = self._numbers()
        busy = {name.removeprefix("busy_"): share for name, share in numbers.items() if name.startswith("busy_")}
        for what in ("frames", "person_frames"):
            self._rates.set(numbers[f"{what}_per_s"], {"what": what})
        for stage, share in busy.items():
            self._busy.set(share, {"stage": stage})
        shares = ", ".join(f"{stage} {share:.0%}" for stage, share in busy.items())
        self._bar.set_postfix_str(
            f"{numbers['frames_per_s']:.1f} frames/s, {numbers['person_frames_per_s']:.1f} person-frames/s, "
            f"{numbers['rejected']:.0f} rejected, busy: {shares or 'nothing yet'}"
        )
        if self._tracker:
            self._tracker.log(int(self._bar.n), numbers)

    def _numbers(self) -> dict[str, float]:
        seconds = max(self.flow.seconds, 1e-9)
        rates = {f"{what}_per_s": self._counts[what] / seconds for what in ("frames", "person_frames")}
        busy = {f"busy_{use.stage}": use.busy for use in self.flow.uses()}
        return {"sequences": float(self._bar.n), "rejected": float(self._counts["rejected"])} | rates | busy
