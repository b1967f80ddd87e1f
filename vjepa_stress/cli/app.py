"""The entry point: run one command, report its errors, return its exit code."""

from __future__ import annotations

import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import typer

from vjepa_stress.cli import output
from vjepa_stress.cli.parser import PROGRAM, app
from vjepa_stress.errors import BadInput, MissingExtra, StressError

# Importing a module registers its commands; help lists them in the order of these imports.
# isort: off
from vjepa_stress.cli import study, sweep, judge, models, data, lists, demo  # noqa: F401
# isort: on

_EXTRAS = {"torch", "hydra", "omegaconf", "av", "jaxtyping", "PIL", "safetensors", "loky"}


class Stopped(BaseException):
    """A signal asked this process to stop. typer would swallow a KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def stoppable() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the block with an exception, so that everything in it cleans up.

    Signals that are ignored stay ignored. Only the main thread can receive signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, _: FrameType | None) -> None:
        # Some senders repeat SIGTERM at once: clean up undisturbed. A second Ctrl-C ends the process at any rate.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        raise Stopped(number)

    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with stoppable():
            refuse_study_override(words)
            result = app(words, prog_name=PROGRAM, standalone_mode=False)
            return output.show(result) if isinstance(result, output.Result) else int(result or 0)
    except StressError as error:
        return output.report_error(error)
    except typer.TyperException as error:
        return _usage(error, words)
    except SystemExit as leave:  # raised after a completion script is installed or printed
        return leave.code if isinstance(leave.code, int) else 1
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] in _EXTRAS:
            return output.report_error(_needs_run(error))
        return _bug(error)
    except (Stopped, KeyboardInterrupt) as stop:
        output.say("interrupted; finished work is kept, and the same command continues from there")
        return 128 + (stop.number if isinstance(stop, Stopped) else signal.SIGINT)
    except Exception as error:
        return _bug(error)


def _usage(error: typer.TyperException, words: Sequence[str]) -> int:
    """Print a usage error and the command that prints the help."""
    context = getattr(error, "ctx", None)
    text = error.format_message()
    if type(error).__name__ == "NoArgsIsHelpError":
        output.say(text)
        return error.exit_code
    close = getattr(error, "possibilities", None)
    if close:
        text = f"{error.message}. Did you mean {' or '.join(sorted(close))}?"
    path = context.command_path if context is not None else PROGRAM
    fix = f"{path} --help"
    if path == PROGRAM and words and words[0].startswith("-") and type(error).__name__ == "NoSuchOption":
        text = f"No such option: {words[0].split('=')[0]}"
        fix = f"put options after the command, for instance {PROGRAM} list models --json"
    output.say(f"usage error: {text}\n  fix: {fix}")
    return error.exit_code


def _needs_run(error: ImportError) -> MissingExtra:
    return MissingExtra(
        "this command needs packages of the extra [run]",
        found=f"no module named {error.name}",
        fix="pip install 'vjepa-stress[run]'",
    )


def _bug(error: Exception) -> int:
    """Print the traceback of a bug, escaped like all other output."""
    output.say("".join(traceback.format_exception(error)).rstrip())
    output.say("this is a bug in vjepa-stress: please report it with the lines above")
    return 1


def refuse_study_override(words: Sequence[str]) -> None:
    """Refuse `run study=mine`, and suggest the command line without the override.

    Raises:
        BadInput: when a word is an override of `study`.
    """
    for position, word in enumerate(words):
        override = re.fullmatch(r"study=([A-Za-z0-9_]+)", word)
        if override is None:
            continue
        rest = [*words[:position], *words[position + 1 :]]
        first = next((number for number, text in enumerate(rest) if not text.startswith("-")), 0) + 1
        if first >= len(rest) or not re.fullmatch(r"[A-Za-z0-9_]+", rest[first]):
            rest.insert(first, override[1])
        raise BadInput("the study is an argument, not an override", found=word, fix=shlex.join([PROGRAM, *rest]))
