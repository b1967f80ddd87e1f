"""`vjepa-stress.toml`: defaults for the command line in a study root. Imports neither torch nor Hydra."""

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
    """This machine's settings for a study root. They change no result, and no document contains them.

    Attributes:
        config_dir: folder with the user's building blocks, as `--config-dir`.
        plugins: importable packages or modules with their classes.
        launcher: where jobs run, as `launcher=` on the command line: local, joblib, slurm or the user's own.
        weights, device, workers, threads, batch, chunks, verify: as in `conf/exec`.
        data: folder of each data set that needs one, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    config_dir: str | None = None
    plugins: list[str] | None = None
    launcher: Annotated[str, Field(pattern=r"^\w+$")] | None = None
    weights: str | None = None
    device: str | None = None
    workers: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    batch: int | None = Field(default=None, ge=1)
    chunks: int | None = Field(default=None, ge=1)
    verify: Literal["changed", "full"] | None = None
    data: dict[_DatasetName, str] | None = None

    @classmethod
    def read(cls, root: StudyRoot) -> Settings:
        """Read the file of a study root, if it exists. Relative paths are relative to the root.

        Raises:
            BadConfiguration: with every mistake and its key.
        """
        path = root.path / NAME
        if not path.exists():
            return cls()
        try:
            value = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
            raise BadConfiguration(
                "the settings of this study root are not valid TOML",
                where=path,
                found=str(error),
                fix='correct this line; text needs quotes, as in weights = "weights"',
            ) from error
        try:
            return cls.model_validate(value)._beneath(root.path)
        except ValidationError as error:
            mistakes = "".join(f"\n    {_describe(detail)}" for detail in error.errors())
            raise BadConfiguration(
                "the settings of this study root are not valid",
                where=path,
                expected=", ".join(cls.model_fields),
                found=mistakes,
                fix=_suggestion(value) or "correct these settings",
            ) from error

    def _beneath(self, root: Path) -> Settings:
        """A copy with absolute paths."""

        def absolute(path: str | None) -> str | None:
            return None if path is None else str(root / Path(path).expanduser())

        changed: dict[str, Any] = {name: absolute(getattr(self, name)) for name in ("config_dir", "weights")}
        if self.data is not None:
            changed["data"] = {name: absolute(path) for name, path in self.data.items()}
        return self.model_copy(update=changed)

    def overrides(self, sweeps: bool = True) -> tuple[str, ...]:
        """The equivalent Hydra overrides; overrides of the command line follow them.

        Args:
            sweeps: whether the command has a launcher.
        """
        values = self.model_dump(exclude={"config_dir", "launcher"}, exclude_none=True)
        launcher = (f"launcher={self.launcher}",) if self.launcher and sweeps else ()
        return (*launcher, *(f"exec.{name}={_literal(value)}" for name, value in values.items()))


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
        return f"{path}: unknown setting"
    return f"{path}: {detail['msg']}, found {detail['input']!r}"


def _suggestion(value: Mapping[str, object]) -> str | None:
    for name in value:
        if name not in Settings.model_fields:
            return did_you_mean(name, Settings.model_fields)
    return None


TEMPLATE = f"""\
# {NAME}: settings of this machine for this study root. They change no result and are not registered.
# Relative paths are relative to this file. Overrides on the command line, such as exec.threads=2, take precedence.

# config_dir = "conf"        # your own building blocks: folders data, model, perturbation and metric with YAML files
# plugins = ["my_blocks"]    # Python modules with their classes, in this folder or in its subfolder plugins/
# launcher = "local"         # where jobs run: local, joblib (processes of this machine) or slurm
# weights = "weights"        # folder of downloaded checkpoints
# device = "auto"            # auto, cpu, cuda or cuda:N
# workers = 4                # worker processes on a CPU; by default as many as fit cores and memory
# threads = 1                # torch threads per process
# batch = 8                  # cells encoded together on a GPU
# chunks = 1                 # number of jobs that share the clips of one model
# verify = "changed"         # source files to read again at launch: "changed" or "full" (all)

# [data]                     # folder of each data set that needs one
# davis = "/path/to/DAVIS"
"""


def write_template(root: StudyRoot) -> Path | None:
    """Write a settings file with every setting commented out, unless the file exists.

    Raises:
        CannotWrite: when the folder cannot be written.
    """
    path = root.path / NAME
    if path.exists():
        return None
    write_durably(path, TEMPLATE.encode())
    return path
