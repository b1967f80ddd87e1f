"""The entry point: one command, its usage errors and its exit code."""

from __future__ import annotations

import re
import shlex
import sys
import traceback
from collections.abc import Sequence

import typer

from vjepa_stress.cli import output
from vjepa_stress.cli.parser import PROGRAM, app
from vjepa_stress.errors import BadInput, MissingExtra, StressError

# Commands register with the application when their modules are imported, and help lists them in this order.
# isort: off
from vjepa_stress.cli import study, sweep, judge, models, data, lists, demo  # noqa: F401
# isort: on

_EXTRAS = {"torch", "hydra", "omegaconf", "av", "jaxtyping", "PIL", "safetensors"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        refuse_study_override(words)
        found = app(words, prog_name=PROGRAM, standalone_mode=False)
        return output.show(found) if isinstance(found, output.Result) else int(found or 0)
    except StressError as error:
        return output.report_error(error)
    except typer.TyperException as error:
        return _usage(error)
    except SystemExit as stop:  # after a completion script was installed or printed
        return stop.code if isinstance(stop.code, int) else 1
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in _EXTRAS:
            return output.report_error(_needs_run(error))
        return _bug(error)
    except KeyboardInterrupt:
        output.say("interrupted; what was complete is kept, and the same command goes on from there")
        return 130
    except Exception as error:
        return _bug(error)


def _usage(error: typer.TyperException) -> int:
    """Print a usage error: what is wrong, and where help is."""
    context = getattr(error, "ctx", None)
    text = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        output.say(text)
        return error.exit_code
    close = getattr(error, "possibilities", None)
    if close:
        text = f"{error.message}. Did you mean {' or '.join(sorted(close))}?"
    path = context.command_path if context is not None else PROGRAM
    output.say(f"usage error: {text}\n  fix: {path} --help")
    return error.exit_code


def _needs_run(error: ImportError) -> MissingExtra:
    return MissingExtra(
        "this command computes, and needs the extra [run]",
        found=f"no module named {error.name}",
        fix="pip install 'vjepa-stress[run]'",
    )


def _bug(error: Exception) -> int:
    """Print where a bug happened; unlike Python's own, this traceback is escaped as everything else is."""
    output.say("".join(traceback.format_exception(error)).rstrip())
    output.say("this is a bug in vjepa-stress")
    return 1


def refuse_study_override(words: Sequence[str]) -> None:
    """Refuse `run study=mine` with the command line that was meant.

    Raises:
        BadInput: when a word is an override of `study`.
    """
    for position, word in enumerate(words):
        found = re.fullmatch(r"study=([A-Za-z0-9_]+)", word)
        if found is None:
            continue
        rest = [*words[:position], *words[position + 1 :]]
        first = next((n for n, one in enumerate(rest) if not one.startswith("-")), 0) + 1
        if first >= len(rest) or not re.fullmatch(r"[A-Za-z0-9_]+", rest[first]):
            rest.insert(first, found[1])
        raise BadInput(
            "STUDY is an argument of its own, not an override", found=word, fix=shlex.join([PROGRAM, *rest])
        )
