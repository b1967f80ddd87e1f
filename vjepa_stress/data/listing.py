"""List the videos in a folder, by names that do not depend on the machine."""

from __future__ import annotations

import logging
import os
import unicodedata
from pathlib import Path

from vjepa_stress.data.container import SUFFIXES
from vjepa_stress.errors import BadInput
from vjepa_stress.terminal import printable, unsafe_character

_LISTED = 10
"""Number of files that one message lists."""


def list_videos(home: Path) -> dict[str, Path]:
    """Find all videos in a folder and its subfolders, by relative path (POSIX form, Unicode normal form C).

    Hidden files and folders (names with a leading dot) are skipped. A symbolic link to a file counts if its target is
    inside the folder and not in the list itself. Links that lead out of the folder are not followed; a warning lists
    them. Linked folders are not entered.

    Raises:
        BadInput: when the folder does not exist, cannot be read, has no video, or has names that are not Unicode or
            differ only in their Unicode form.
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
            # Keep a broken link in the list: choosing it must raise an error about the missing file.
            _add(links if link else plain, name, path)
        else:
            others += 1
    if outside:
        logging.getLogger(__name__).warning(
            "%d symbolic links in %s lead out of the folder and are not followed: %s",
            len(outside),
            home,
            ", ".join(sorted(outside)[:_LISTED]),
        )
    found = plain | _distinct(links, plain)
    if not found:
        raise BadInput(
            "there are no videos in this folder",
            where=home,
            expected=f"files ending in {', '.join(sorted(SUFFIXES))}",
            found=f"{others} other files, {len(outside)} links that lead out of the folder",
            fix="copy the videos there, or give another folder",
        )
    return found


def _folder(home: Path) -> Path:
    if home.is_dir():
        return home.resolve()
    raise BadInput(
        "the folder of videos does not exist",
        where=home,
        expected="a folder",
        found="a file" if home.exists() else "nothing",
        fix="correct the path in exec.data or under [data] in vjepa-stress.toml",
    )


def _walk(root: Path) -> list[Path]:
    """All files below `root` and all linked folders, without hidden ones."""

    def stop(error: OSError) -> None:
        raise BadInput(
            "a folder cannot be read", where=error.filename, found=error.strerror, fix="change its permissions"
        ) from error

    found: list[Path] = []
    for folder, subfolders, files in os.walk(root, onerror=stop, followlinks=False):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        names = [name for name in files if not name.startswith(".")]
        parent = Path(folder)
        found += [parent / name for name in names]
        found += [parent / name for name in subfolders if (parent / name).is_symlink()]
    return found


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    if (character := unsafe_character(name)) is not None:
        raise BadInput(
            "the name of a video contains bytes that are not Unicode, a control or an invisible formatting character",
            where=printable(str(path)),
            found=character,
            fix="rename the file; documents cannot contain such names",
        )
    normal = unicodedata.normalize("NFC", name)
    if normal in found:
        raise BadInput(
            "the names of two videos differ only in the Unicode form of an accent",
            where=path.parent,
            found=normal,
            fix="rename or remove one of them",
        )
    found[normal] = path


def _distinct(links: dict[str, Path], plain: dict[str, Path]) -> dict[str, Path]:
    """Links whose target is neither in the list nor the target of an earlier link (by name)."""
    targets = {path.resolve() for path in plain.values()}
    distinct: dict[str, Path] = {}
    for name in sorted(links):
        target = links[name].resolve()
        if target not in targets:
            targets.add(target)
            distinct[name] = links[name]
    return distinct
