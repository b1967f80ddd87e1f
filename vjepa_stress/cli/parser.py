"""The application that commands register with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

from vjepa_stress import __version__
from vjepa_stress.cli import output

PROGRAM = "vjepa-stress"

EPILOG = """\b
start: vjepa-stress demo         runs a complete small study
       vjepa-stress new mine     starts a study of your own

exit codes: 0 success; 1 a bug; 2 bad usage or input; 3 tampered; 4 disk full, job lost or device not usable;
11 cannot be evaluated; with --strict also 10 a hypothesis refuted, 20 a hypothesis ambiguous"""

app = typer.Typer(
    name=PROGRAM,
    help="Preregistered robustness studies of video encoders.",
    epilog=EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: the same on a terminal and in a pipe, without importing rich
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Function = TypeVar("Function", bound=Callable[..., output.Result])


def command(
    example: str, *, group: typer.Typer | None = None, name: str | None = None
) -> Callable[[Function], Function]:
    """Register a command, with an example at the end of its help."""
    # The backspace turns off wrapping of the paragraph: an example must work when pasted.
    return (group or app).command(name, epilog=f"\b\nexample: {example}")


def _version(requested: bool) -> None:
    if requested:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass
