"""Measure `ray_jobs.reconstruct` on this machine: `make bench-reconstruct` writes results/reconstruct.md.

The job is compared with a loop over the same sequences in one process that has all cores: rows a second between two
runs of different length, so that what a start costs, which many sequences share, does not count. The last line printed
is a JSON object of the figures. Rooms are rendered, those of the memory's 200 sequences are hard links to one.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import psutil
import ray
import torch
from ray.cluster_utils import Cluster

from motion.body import Body
from motion.skeleton import KEYPOINT_SETS
from ray_jobs.common import storage
from ray_jobs.common.parts import write_part
from ray_jobs.reconstruct import KINDS, ReconstructConfig, make_bodies, reconstruct
from recon import pipeline
from recon.depth import load_depth_model
from recon.pipeline.contact_sheet import contact_sheet
from recon.pipeline.perception import perceive
from recon.pipeline.record import describe_quality
from recon.regressors import HMR2Regressor, load_regressor
from recon.simulate import NOISY, SimulateConfig, simulate, write
from recon.teton import list_sequences, read_sequence
from tests.benchmarks.bench_recon_fit import fit_person_frames_per_s
from tests.benchmarks.bench_recon_hmr2 import filled, random_state
from tests.benchmarks.bench_reconstruct_resume import stopped_and_resumed
from tests.benchmarks.results_file import cores

RESULTS = Path(__file__).parent / "results" / "reconstruct.md"
VIT_H = "tests.benchmarks.bench_reconstruct:vit_h"
SHORT = SimulateConfig(num_people=1, num_frames=8, image_size=(256, 192))
MEDIUM = SimulateConfig(num_people=1, num_frames=16, image_size=(256, 192))
USUAL = SimulateConfig(num_people=2, num_frames=30)
FEW, MANY = 20, 200
"""Sequences whose peaks of memory are compared."""


def vit_h(body: Body, device: str, bf16: bool) -> HMR2Regressor:
    """Build HMR2.0's network with random weights."""
    network = filled(random_state(torch.Generator().manual_seed(0)))
    return HMR2Regressor(network.to(device), body, bf16=bf16)


def main() -> None:
    """Run the parts, one after the other, and write their table."""
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder))
    alone, together = fit_person_frames_per_s()
    figures["fit_batched_speedup"] = together / alone
    rounded = {name: round(value, 3) for name, value in figures.items()}
    rows = "".join(f"| `{name}` | {value:g} |\n" for name, value in rounded.items())
    machine = f"{cores()}, torch {torch.__version__}, Ray {ray.__version__}, no GPU"
    heading = f"# Reconstruction: the job\n\n{date.today()}, {machine}; `make bench-reconstruct`.\n\n| | |\n|---|---|\n"
    RESULTS.write_text(heading + rows, encoding="utf-8")
    print(json.dumps(rounded))


def measure(folder: Path) -> dict[str, float]:
    """Compare the job with the loop for both body networks, its memory for two lengths, and two nodes with one."""
    short, medium, usual = (
        rooms(folder / name, count, config)
        for name, count, config in (("short", 6, SHORT), ("medium", 24, MEDIUM), ("usual", 30, USUAL))
    )
    parts = (
        lambda: {"pipeline_over_loop_vit_h": pipeline_over_loop(medium, (4, 20), regressor=VIT_H, body_actors=2)},
        lambda: {"pipeline_over_loop_shipped": pipeline_over_loop(usual, (10, 20))},
        lambda: compared_peaks(short, folder),
        lambda: stopped_and_resumed(linked(short, folder / "linked 300", 300), folder / "submitted"),
        lambda: {"rows_that_differ_on_two_nodes": float(rows_that_differ(usual, folder))},
    )
    figures: dict[str, float] = {}
    for part in parts:
        figures |= part()
        print(figures, flush=True)
    return figures


def rooms(root: Path, count: int, config: SimulateConfig) -> Path:
    """Render a tree of rooms."""
    for seed in range(count):
        place = root / "ward" / "camera" / "day" / f"{seed:03}"
        write(simulate(seed, config), place, KEYPOINT_SETS["coco17"], NOISY, seed)
    return root


def linked(root: Path, target: Path, count: int) -> Path:
    """Make a tree of `count` sequences, each of hard links to the first of `root`."""
    first = list_sequences(root)[0]
    for number in range(count):
        shutil.copytree(first, target / "ward" / "camera" / "day" / f"{number:03}", copy_function=os.link)
    return target


def part_of(root: Path, start: int, stop: int) -> Path:
    """Make a tree of some of the sequences of `root`, by hard links."""
    target = root.with_name(f"{root.name} {start} to {stop}")
    for folder in list_sequences(root)[start:stop]:
        shutil.copytree(folder, target.joinpath(*folder.parts[-4:]), copy_function=os.link)
    return target


def pipeline_over_loop(root: Path, counts: tuple[int, int], **settings: object) -> float:
    """Divide the job's rate by the loop's: `counts[0]` sequences are a run that only measures what a start costs.

    All runs have other sequences, so that none finds files in the system's cache that the other does not.
    """
    few, many = counts
    spent = []
    for part in (part_of(root, 0, few), part_of(root, few, few + many)):
        config = ReconstructConfig(str(part), str(part) + " out", max_rejected_fraction=0.0, **settings)  # type: ignore[arg-type]
        with cluster():
            began = time.perf_counter()
            reconstruct(config)
            spent.append(time.perf_counter() - began)
    in_loop = loop(list_sequences(part)[few:], config)  # as many as the second run has more than the first
    return in_loop / (spent[1] - spent[0])


def loop(folders: Sequence[Path], config: ReconstructConfig) -> float:
    """Reconstruct sequences one after the other in this process; return the seconds, without those of loading."""
    regressor = load_regressor(config.regressor, config.smpl)
    relative, metric = (load_depth_model("tiny", metric=is_metric) for is_metric in (False, True))
    bodies, output = make_bodies(config), config.output + " of the loop"
    began = time.perf_counter()
    for folder in folders:
        sequence = read_sequence(folder)
        made = pipeline.reconstruct(sequence, perceive(sequence, regressor, relative, metric), bodies, config.mode)
        sheet = contact_sheet(sequence, made.scene, made.motion, bodies.body, describe_quality(made.quality))
        sheet.save(Path(output).with_suffix(".png"))
        for kind, record in zip(KINDS, (made.scene, made.motion), strict=True):
            write_part(output, kind, record, sequence.id)
    return time.perf_counter() - began


@contextmanager
def cluster(nodes: int = 1) -> Iterator[None]:
    """Run a Ray cluster of so many nodes of this machine."""
    made = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 4})
    for _ in range(1, nodes):
        made.add_node(num_cpus=4)
    made.wait_for_nodes()
    try:
        yield
    finally:
        ray.shutdown()
        made.shutdown()


def compared_peaks(root: Path, folder: Path) -> dict[str, float]:
    """Compare the job's memory with many sequences to that with few."""
    few, many = (peak_of(linked(root, folder / f"linked {count}", count)) for count in (FEW, MANY))
    return {"peak_memory_ratio": many / few, f"peak_memory_{MANY}_gib": many / 2**30}


def peak_of(root: Path) -> float:
    """Reconstruct a tree and return the most memory, in bytes, that this process and all its children had at once."""
    with cluster(), watched() as peaks:
        reconstruct(ReconstructConfig(str(root), f"{root} out", max_rejected_fraction=0.0))
    return max(peaks)


@contextmanager
def watched() -> Iterator[list[float]]:
    """Sum the proportional memory of this process' family every other second."""
    peaks, ended = [0.0], threading.Event()

    def watch() -> None:
        while not ended.wait(2):
            peaks.append(sum(map(_proportional, [psutil.Process(), *psutil.Process().children(recursive=True)])))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield peaks
    finally:
        ended.set()
        watching.join()


def _proportional(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss)
    except psutil.Error:
        return 0.0


def rows_that_differ(root: Path, folder: Path) -> int:
    """Count the rows, of both kinds, that a cluster of two nodes makes otherwise than one of one node."""
    tree = part_of(root, 0, 6)
    for nodes in (1, 2):
        with cluster(nodes):
            reconstruct(ReconstructConfig(str(tree), str(folder / f"{nodes} nodes"), max_rejected_fraction=0.0))
    return sum(map(_differing(folder), KINDS))


def _differing(folder: Path) -> Callable[[str], int]:
    def count(kind: str) -> int:
        one, two = (_rows(f"{folder}/{nodes} nodes/{kind}") for nodes in (1, 2))
        return sum(one.get(name) != two.get(name) for name in one.keys() | two.keys())

    return count


def _rows(folder: str) -> dict[str, dict[str, object]]:
    rows = [row for path in Path(folder).iterdir() for row in storage.read_table(str(path)).to_pylist()]
    return {row["id"]: row for row in rows}


if __name__ == "__main__":
    main()
