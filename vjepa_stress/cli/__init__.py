"""The command line: each module defines a group of commands that call the layers below and print their results.

Commands import the modules they need in their bodies, so that `--help` and completion load neither numpy nor torch.
"""

from vjepa_stress.cli.app import main

__all__ = ["main"]
