"""`vjepa-stress.toml`: what a study root says once instead of on each command line. Imports no torch and no Hydra."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from vjepa_stress.disk import write_durably
from vjepa_stress.errors import BadConfiguration, did_you_mean
from vjepa_stress.study_root import StudyRoot

NAME = "vjepa-stress.toml"

_DatasetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]


class Settings(BaseModel):
    """This machine's settings for a study root. They change no number, and no document holds them.

    Attributes:
        config_dir: folder with building blocks of the user's own, as `--config-dir`.
        plugins: importable packages or modules with their classes.
        weights, scratch, device, threads, chunks, verify: as in `conf/exec`.
        data: folder of each data set that needs one, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    config_dir: str | None = None
    plugins: list[str] | None = None
    weights: str | None = None
    scratch: str | None = None
    device: str | None = None
    threads: int | None = Field(default=None, ge=1)
    chunks: int | None = Field(default=None, ge=1)
    verify: Literal["changed", "full"] | None = None
    data: dict[_DatasetName, str] | None = None

    @classmethod
    def read(cls, root: StudyRoot) -> Settings:
        """Read the file of a study root; an absent file sets nothing. Relative paths are relative to the root.

        Raises:
            BadConfiguration: with every mistake and the key it concerns.
        """
        path = root.path / NAME
        if not path.exists():
            return cls()
        try:
            value = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise BadConfiguration("this file cannot be read as TOML", where=path, found=str(error)) from error
        try:
            return cls.model_validate(value)._beneath(root.path)
        except ValidationError as error:
            mistakes = "".join(f"\n    {_describe(detail)}" for detail in error.errors())
            raise BadConfiguration(
                "the settings of this study root are not valid",
                where=path,
                expected=", ".join(cls.model_fields),
                found=mistakes,
                fix=_suggestion(value),
            ) from error

    def _beneath(self, root: Path) -> Settings:
        """These settings with every path absolute."""

        def absolute(path: str | None) -> str | None:
            return None if path is None else str(root / Path(path).expanduser())

        changed: dict[str, Any] = {
            name: absolute(getattr(self, name)) for name in ("config_dir", "weights", "scratch")
        }
        if self.data is not None:
            changed["data"] = {name: absolute(path) for name, path in self.data.items()}
        return self.model_copy(update=changed)

    def overrides(self) -> tuple[str, ...]:
        """Hydra overrides of `exec` that say the same; they come before those of the command line."""
        values = self.model_dump(exclude={"config_dir"}, exclude_none=True)
        return tuple(f"exec.{name}={_literal(value)}" for name, value in values.items())


def _literal(value: object) -> str:
    """A value in Hydra's grammar."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return str(value) if isinstance(value, int) else quoted(str(value))


def quoted(text: str) -> str:
    """A text as a quoted value of a Hydra override."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _describe(detail: Any) -> str:
    path = ".".join(str(part) for part in detail["loc"] if part != "[key]")
    if detail["type"] == "extra_forbidden":
        return f"{path}: there is no such setting"
    return f"{path}: {detail['msg']}, found {detail['input']!r}"


def _suggestion(value: Mapping[str, object]) -> str | None:
    for name in value:
        if name not in Settings.model_fields:
            return did_you_mean(name, Settings.model_fields)
    return None


TEMPLATE = f"""\
# {NAME}: settings of this machine for this study root. They change no number, and no registration holds them.
# Relative paths are relative to this file. An override on a command line, for instance exec.threads=2, comes first.

# config_dir = "conf"        # building blocks of your own: data/, model/, perturbation/ and metric/ with YAML files
# plugins = ["my_blocks"]    # Python modules with their classes, found in this folder or in its subfolder plugins/
# weights = "weights"        # downloaded checkpoints
# scratch = "/tmp"           # decoded clips and features while a sweep runs
# device = "auto"            # auto, cpu, cuda, cuda:1
# threads = 4                # torch threads of each process
# chunks = 1                 # jobs that share the cells of one model
# verify = "changed"         # at launch, read the files of clips again: those that changed, or "full": all of them

# [data]                     # the folder of each data set that needs one
# davis = "/path/to/DAVIS"
"""


def write_template(root: StudyRoot) -> Path | None:
    """Write a settings file in which everything is commented out, unless there is one.

    Raises:
        CannotWrite: when the folder cannot be written.
    """
    path = root.path / NAME
    if path.exists():
        return None
    write_durably(path, TEMPLATE.encode())
    return path
