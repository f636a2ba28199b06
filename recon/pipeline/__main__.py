"""Reconstruct annotated room videos in this process, or measure the reconstruction on rendered rooms.

    python -m recon.pipeline ROOT/DEPARTMENT/DEVICE/DATE/DATETIME --output out
    python -m recon.pipeline --simulate 20 --report out

Modes:

    regression     the body network's poses, smoothed (eq. 4.1)
    optimisation   poses fitted to the annotated keypoints, from a start that is lifted from them
    hybrid         the same fit from the body network's poses, lifted where those are masked or far from the keypoints
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from PIL import Image
from tqdm import tqdm

from motion.errors import InputError, command_line
from motion.parquet import write_parquet
from motion.sequence import read_motions
from recon.depth import DepthNetwork, load_depth_model
from recon.pipeline.contact_sheet import contact_sheet
from recon.pipeline.options import ReconstructionOptions
from recon.pipeline.perception import perceive
from recon.pipeline.record import describe_quality
from recon.pipeline.steps import Bodies, Reconstruction, load_bodies, reconstruct
from recon.regressors import BodyRegressor, load_regressor
from recon.teton import file_name, list_sequences, read_sequence, require_file_names, require_readable

MEASURED = ("motions", "regressor", "smpl", "relative_depth", "metric_depth", "pose_prior", "bf16", "device")
"""Settings that a report's figures depend on."""


@dataclass(frozen=True)
class PipelineConfig(ReconstructionOptions):
    """Command that reconstructs sequences in this process: contact sheets, and Parquet of motions and scenes."""

    sequences: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Folders of sequences, or roots of Teton trees."""
    output: Path = Path("reconstruction")
    """Folder that receives scenes/, motions/ and sheets/, one file a sequence."""
    simulate: int = 0
    """Number of rooms to render, instead of `sequences`, and to compare with the truth; 0 renders none."""
    report: Path = Path("report")
    """Folder of that comparison; an interrupted one goes on where it was."""
    seed: int = 10_000
    """Seed of the first rendered room; the networks that ship were trained on smaller seeds."""
    motions: str | None = None
    """Parquet folder or file of motions by which some persons of the rendered rooms move.

    Without it they move by DeepMimic's clips, from which the networks that ship have learnt.
    """
    device: str = "cpu"
    """Torch device of the networks, such as cpu or cuda."""


def run(config: PipelineConfig) -> None:
    """Reconstruct the sequences, or measure the reconstruction on rendered rooms.

    Raises InputError when both or neither are asked for, when no sequence can be read, and at the end when one of them
    could not be reconstructed.
    """
    if config.simulate < 0 or bool(config.simulate) == bool(config.sequences):
        raise InputError("expected folders of sequences, or --simulate N with N of 1 or more, and not both")
    if config.seed < 0:
        raise InputError(f"--seed is {config.seed}, expected 0 or more")
    if config.motions is not None and not config.simulate:
        raise InputError(f"--motions {config.motions} is for rendered rooms, expected --simulate N with it")
    motions = None if config.motions is None else read_motions(config.motions)
    require_readable(find_folders(config.sequences))
    regressor = load_regressor(config.regressor, config.smpl, device=config.device, bf16=config.bf16)
    relative, metric = (
        load_depth_model(spec, metric=is_metric, device=config.device, bf16=config.bf16)
        for spec, is_metric in ((config.relative_depth, False), (config.metric_depth, True))
    )
    bodies = load_bodies(config.smpl or "default", config.pose_prior, config.regressor)
    if config.simulate:
        from recon.pipeline.accuracy_report import Models, write_report  # it compares what this module makes

        models = Models(regressor, relative, metric, bodies)
        write_report(config.report, config.simulate, config.seed, models, motions, not_default(config))
        print((config.report / "report.md").read_text(encoding="utf-8"))
        return
    reconstruct_folders(config, regressor, relative, metric, bodies)


def not_default(config: PipelineConfig) -> dict[str, str]:
    """Name the options that a report's figures depend on and that are not the default."""
    said = {name: getattr(config, name) for name in MEASURED}
    return {
        name.replace("_", "-"): str(value) for name, value in said.items() if value != getattr(PipelineConfig, name)
    }


def reconstruct_folders(
    config: PipelineConfig, regressor: BodyRegressor, relative: DepthNetwork, metric: DepthNetwork, bodies: Bodies
) -> None:
    """Reconstruct the sequences of `config` one after the other; raises InputError at the end when one could not be."""
    failed: list[Path] = []
    folders = find_folders(config.sequences)
    for folder in (bar := tqdm(folders, desc="reconstruct")):
        try:
            sequence = read_sequence(folder)
            made = reconstruct(sequence, perceive(sequence, regressor, relative, metric), bodies, config.mode)
        except InputError as error:
            failed.append(folder)
            bar.write(f"{folder}: {error}", file=sys.stderr)
            continue
        lines = describe_quality(made.quality)
        save(made, contact_sheet(sequence, made.scene, made.motion, bodies.body, lines), config)
        bar.write("\n".join((sequence.id, *lines)))
    print(f"scenes, motions and sheets lie in {config.output}")
    if failed:
        raise InputError(f"{len(failed)} of {len(folders)} sequences could not be reconstructed")


def find_folders(paths: Iterable[Path]) -> list[Path]:
    """List the folders of sequences, where each path is one or a root of a Teton tree; raises InputError for others."""
    found = {path: list_sequences(path) or [path] for path in paths}
    for path, folders in found.items():
        if folders == [path] and not any((path / name).exists() for name in ("annotations.json", "frames")):
            raise InputError(
                f"{path} holds no sequence, expected a folder with annotations.json and frames/, or the root of a tree "
                "ROOT/DEPARTMENT/DEVICE/DATE/DATETIME of them"
            )
    every = [folder for folders in found.values() for folder in folders]
    require_file_names(every)
    return every


def save(made: Reconstruction, sheet: Image.Image, config: PipelineConfig) -> None:
    """Write a reconstruction's scene, motion and contact sheet."""
    name = file_name(made.motion.id)
    write_parquet([made.scene], config.output / "scenes" / f"{name}.parquet")
    write_parquet([made.motion], config.output / "motions" / f"{name}.parquet")
    (config.output / "sheets").mkdir(exist_ok=True)
    sheet.save(config.output / "sheets" / f"{name}.png")


if __name__ == "__main__":
    command_line.run(run, PipelineConfig, __doc__)
