"""Reading YAML files into plain values, without torch."""

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
    """Plain values of a YAML file; a key that stands twice, anchors and aliases are refused.

    Raises:
        BadDocument: when it does not parse.
    """
    try:
        text = path.read_text(encoding="utf-8")
        _check_events(text, path)
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except (YAMLError, OmegaConfBaseException, UnicodeDecodeError, OSError, RecursionError) as error:
        raise BadDocument("this file cannot be read as YAML", where=path, found=str(error)) from error


def _check_events(text: str, path: Path) -> None:
    """Refuse what would make a short file large or deep, before anything is built from it."""
    level = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        level += isinstance(event, CollectionStartEvent)
        level -= isinstance(event, CollectionEndEvent)
        anchored = isinstance(event, AliasEvent) or getattr(event, "anchor", None) is not None
        if anchored or level > _DEEPEST_YAML:
            raise BadDocument(
                "this file is more involved than any draft or configuration",
                where=f"{path}, line {event.start_mark.line + 1}" if event.start_mark else path,
                expected=f"no anchors (&) and aliases (*), and at most {_DEEPEST_YAML} levels",
                found="an anchor or alias" if anchored else f"{level} levels",
                fix="write values out where they are used; put text with & or * in quotes",
            )
