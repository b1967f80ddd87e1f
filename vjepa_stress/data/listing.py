"""Which videos lie in a folder, by names that do not depend on the machine."""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path

from vjepa_stress.data.container import SUFFIXES
from vjepa_stress.errors import BadInput
from vjepa_stress.terminal import printable, unsafe_character

_LISTED = 10
"""How many files one message names."""


def list_videos(home: Path) -> dict[str, Path]:
    """Find all videos in a folder and below, by their path within it (POSIX form, Unicode normal form C).

    Hidden files and folders (names with a leading dot) are left out. A symbolic link to a file counts when
    it stays within the folder and its target is not found by itself; links that lead out are not followed,
    and a warning names them. Folders that are links are not entered.

    Raises:
        BadInput: when there is no such folder, it cannot be read, holds no video, or holds names that are
            not Unicode or differ only in their Unicode form.
    """
    root = _folder(home)
    plain: dict[str, Path] = {}
    links: dict[str, Path] = {}
    outside: list[str] = []
    others = 0
    for path in _walk(root):
        name = path.relative_to(root).as_posix()
        link, video = path.is_symlink(), path.suffix.lower() in SUFFIXES
        if link and (video or path.is_dir()) and not path.resolve().is_relative_to(root):
            outside.append(name)
        elif video and (path.is_file() or not path.exists()):
            # A broken link stays in the list: what it stands for is missing, and whoever chooses it must be told.
            _add(links if link else plain, name, path)
        else:
            others += 1
    if outside:
        logging.getLogger(__name__).warning(
            "%d symbolic links in %s lead out of the folder and were not followed: %s",
            len(outside),
            home,
            ", ".join(sorted(outside)[:_LISTED]),
        )
    found = plain | _unseen(links, plain)
    if not found:
        raise BadInput(
            "there are no videos in this folder",
            where=home,
            expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
            found=f"{others} other files, {len(outside)} links that lead out of the folder",
            fix="put the videos themselves there, or point to another folder",
        )
    return found


def _folder(home: Path) -> Path:
    if home.is_dir():
        return home.resolve()
    raise BadInput(
        "the folder of videos is not there",
        where=home,
        expected="a folder",
        found="a file" if home.exists() else "nothing",
        fix="say where the videos lie",
    )


def _walk(root: Path) -> list[Path]:
    """All files below `root`, and all folders that are links, without hidden ones."""

    def stop(error: OSError) -> None:
        raise BadInput(
            "a folder cannot be read", where=error.filename, found=error.strerror, fix="change its permissions"
        ) from error

    found: list[Path] = []
    for folder, subfolders, files in os.walk(root, onerror=stop, followlinks=False):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        names = [name for name in files if not name.startswith(".")]
        here = Path(folder)
        found += [here / name for name in names]
        found += [here / name for name in subfolders if (here / name).is_symlink()]
    return found


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    if (character := unsafe_character(name)) is not None:
        raise BadInput(
            "the name of a video holds bytes that are not Unicode, a control or an invisible formatting character",
            where=printable(str(path)),
            found=character,
            fix="rename the file: no document can hold such a name",
        )
    normal = unicodedata.normalize("NFC", name)
    if normal in found:
        raise BadInput(
            "the names of two videos differ only in how Unicode writes an accent",
            where=path.parent,
            found=normal,
            fix="rename or remove one of them",
        )
    found[normal] = path


def _unseen(links: dict[str, Path], plain: dict[str, Path]) -> dict[str, Path]:
    """Links whose target is neither listed itself nor the target of a link that comes earlier by name."""
    seen = {path.resolve() for path in plain.values()}
    found: dict[str, Path] = {}
    for name in sorted(links):
        target = links[name].resolve()
        if target not in seen:
            seen.add(target)
            found[name] = links[name]
    return found
