"""Everything the command line prints: results on standard output, messages on standard error."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from vjepa_stress.terminal import aligned, printable

if TYPE_CHECKING:
    from vjepa_stress.errors import StressError


@dataclass(frozen=True)
class Table:
    """Rows of text, with the names of their columns."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Result:
    """The result of a command.

    Attributes:
        values: the whole result, as `--json` prints it. Without `--json`, only single values are printed.
        as_json: whether to print JSON.
        parts: texts and tables that replace the values in the output without `--json`.
        exit_code: exit code of the process.
        next: the command that usually follows.
    """

    values: Mapping[str, Any]
    as_json: bool = False
    parts: tuple[str | Table, ...] = ()
    exit_code: int = 0
    next: str | None = None


def say(text: str) -> None:
    """Print a message."""
    print(printable(text), file=sys.stderr, flush=True)


def notices(texts: Iterable[str]) -> None:
    """Print notices: facts that a reader needs and that are not errors."""
    for text in texts:
        say(f"notice: {text}")


def report_error(error: StressError) -> int:
    """Print an error and return its exit code."""
    say(f"{type(error).__name__}: {error}")
    return error.exit_code


def show(result: Result) -> int:
    """Print a result and the command that usually follows; return the exit code."""
    if result.as_json:
        print(_json(result.values))
    elif result.parts:
        for part in result.parts:
            if isinstance(part, Table):
                print_table(part, sys.stdout)
            else:
                print(printable(part))
    else:
        for key, value in result.values.items():
            text = plain(value)
            if text is not None:
                # Text of several lines, such as a checkpoint, can be copied without edits.
                between = "\n" if "\n" in text else " "
                print(f"{key.replace('_', ' ')}:{between}{printable(text)}")
    sys.stdout.flush()
    if result.next is not None:
        say(f"next: {result.next}")
    return result.exit_code


def _json(values: Mapping[str, Any]) -> str:
    # Escape everything but ASCII, so that no terminal interprets it. JSON does not escape DEL.
    return json.dumps(values, indent=2, default=str).replace("\x7f", "\\u007f")


def plain(value: object) -> str | None:
    """One value as text; None where it is unknown, empty or does not fit a line."""
    if value is None or isinstance(value, Mapping):
        return None
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        parts = [plain(item) for item in value]
        return ", ".join(part for part in parts if part is not None) if parts and None not in parts else None
    return str(value)


def print_table(table: Table, stream: TextIO) -> None:
    """Print a table: drawn on a terminal, as aligned plain text elsewhere. Cells may have several lines."""
    rows = [tuple(printable(cell) for cell in row) for row in table.rows]
    if stream.isatty():
        _draw(Table(table.columns, tuple(rows)), stream)
        return
    for line in aligned([table.columns, *rows]):
        print(line, file=stream)


def _draw(table: Table, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as Drawing
    from rich.text import Text

    drawing = Drawing(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for number, name in enumerate(table.columns):
        last = number == len(table.columns) - 1
        drawing.add_column(name, overflow="fold", no_wrap=not last)
    for row in table.rows:
        drawing.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    Console(file=stream, no_color=bool(os.environ.get("NO_COLOR")), highlight=False).print(drawing)


_STYLES = {"confirmed": "green", "refuted": "red", "ambiguous": "yellow"}


def next_command(*words: str | Path, root: Path | None = None, config_dir: Path | None = None) -> str:
    """A command line that can be pasted; it repeats the folder options of the current one."""
    options = {"--root": root, "--config-dir": config_dir}
    given = [part for name, folder in options.items() if folder is not None for part in (name, folder)]
    return shlex.join(["vjepa-stress", *(_short(word) for word in (*words, *given))])


def _short(word: str | Path) -> str:
    """A path relative to the current folder if it is below it."""
    if not isinstance(word, Path):
        return word
    return os.fspath(word.relative_to(Path.cwd()) if word.is_relative_to(Path.cwd()) else word)
