"""Import a video with annotated persons as a Teton tree, or check one: all that is wrong in it, without any network.

    python -m recon.teton import --video walk.mp4 --annotations walk.json --output rooms
    python -m recon.teton check rooms

`recon/teton/tree.py` describes the folder. The exit status is 2 where a sequence has faults
or a video cannot be imported.
"""

from typing import Annotated, Any

import tyro

from motion.errors import command_line
from recon.teton.checking import CheckConfig, check
from recon.teton.importing import ImportConfig, import_video

COMMANDS: Any = (
    Annotated[CheckConfig, tyro.conf.subcommand("check")] | Annotated[ImportConfig, tyro.conf.subcommand("import")]
)


def run(config: CheckConfig | ImportConfig) -> None:
    """Do what the subcommand says."""
    if isinstance(config, ImportConfig):
        import_video(config)
    else:
        check(config)


def main() -> None:
    """Parse the command line and do what it says."""
    config = tyro.cli(COMMANDS, prog=command_line.program(), description=__doc__)
    command_line.finish(run, command_line.with_paths(config))


if __name__ == "__main__":
    command_line.exit_on_bad_input(main)
