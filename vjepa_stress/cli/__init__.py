"""The command line. Each module holds a group of commands; they call the layers below and print what those return.

Modules of the package are imported inside commands: `--help` and completion must not wait for numpy, let alone torch.
"""

from vjepa_stress.cli.app import main

__all__ = ["main"]
