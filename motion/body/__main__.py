"""Make the default body's asset anew; needs the extra `body`.

python -m motion.body export-default
"""

from motion.errors.command_line import exit_on_bad_input, program


def main() -> None:
    """Run the subcommand."""
    import tyro  # only the command line needs these

    from motion.body.export_default import export_default

    tyro.extras.subcommand_cli_from_dict({"export-default": export_default}, prog=program(), description=__doc__)


if __name__ == "__main__":
    exit_on_bad_input(main)
