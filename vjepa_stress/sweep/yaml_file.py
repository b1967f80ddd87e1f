"""Read YAML files as plain values, without importing torch."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import AliasEvent, CollectionEndEvent, CollectionStartEvent, YAMLError

from vjepa_stress.errors import BadDocument

_DEEPEST_YAML = 60


def load_yaml(path: Path) -> Any:
    """Plain values of a YAML file; refuses duplicate keys, anchors and aliases.

    Raises:
        BadDocument: when the file does not exist or does not parse.
    """
    if not path.exists():
        raise BadDocument("the file does not exist", where=path, fix="correct the path, or write the file")
    try:
        text = path.read_text(encoding="utf-8")
        _check_events(text, path)
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError, RecursionError) as error:
        raise BadDocument(
            "the file is not valid YAML",
            where=path,
            found=str(error),
            fix="correct this line; put text with : # { [ & or * in quotes",
        ) from error


def _check_events(text: str, path: Path) -> None:
    """Refuse files that expand to large or deeply nested values, before anything is built from them."""
    level = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        level += isinstance(event, CollectionStartEvent)
        level -= isinstance(event, CollectionEndEvent)
        anchored = isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None
        if anchored or level > _DEEPEST_YAML:
            raise BadDocument(
                "the file has an anchor or alias" if anchored else "the file is nested too deeply",
                where=f"{path}, line {event.start_mark.line + 1}" if event.start_mark else path,
                expected=f"no anchors (&) and aliases (*), and at most {_DEEPEST_YAML} levels",
                found="an anchor or alias" if anchored else f"{level} levels",
                fix="repeat values where they are used; put text with & or * in quotes",
            )
