"""Make the default body anew: `python -m motion.body export-default`, which needs the extra `body`."""

import sys

from motion.errors import InputError


def main() -> None:
    import tyro  # only the command line needs these

    from motion.body.export_default import export_default

    try:
        tyro.extras.subcommand_cli_from_dict({"export-default": export_default}, description=__doc__)
    except InputError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
