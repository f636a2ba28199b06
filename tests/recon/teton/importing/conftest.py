"""A rendered room of two persons as a video with COCO annotations, and the command that imports it."""

from pathlib import Path

import pytest

from recon.simulate import SimulateConfig
from tests.conftest import Ended
from tests.helpers.imports import COUNT, Original, Run
from tests.helpers.recordings import film


@pytest.fixture(scope="package")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """Render a room of two persons and write it as a video of 10 fps with COCO annotations."""
    folder = tmp_path_factory.mktemp("original")
    config = SimulateConfig(num_people=2, num_frames=COUNT, image_size=(256, 192))
    sequence = film(folder, config)
    return Original(folder, sequence, [sequence.frame(number) for number in range(COUNT)])


@pytest.fixture
def import_(run_program: Run, original: Original, tmp_path: Path) -> Run:
    """Run the import of the original's video into `rooms`, with other arguments where they are given."""

    def run(*arguments: object, **changed: object) -> Ended:
        video, annotations = original.folder / "walk.mp4", original.folder / "walk.json"
        options = {"video": video, "annotations": annotations, "output": "rooms"} | changed
        words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        return run_program("recon.teton", "import", *words, *map(str, arguments))

    return run
