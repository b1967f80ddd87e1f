"""The study root: the folder that holds `prereg/` and `outputs/`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from vjepa_stress.digest import Digest
from vjepa_stress.errors import BadInput

STUDY_NAME = r"^[a-z][a-z0-9_]{0,63}$"


@dataclass(frozen=True)
class StudyRoot:
    """Paths of everything a study consists of."""

    path: Path

    @classmethod
    def find(cls, start: Path | None = None, given: Path | None = None) -> StudyRoot:
        """The root given, or the nearest folder from `start` upwards that holds `prereg/`.

        Raises:
            BadInput: when there is none.
        """
        if given is not None:
            if not (given / "prereg").is_dir():
                raise BadInput("this is not a study root", where=given, expected="a folder that holds prereg/")
            return cls(given.resolve())
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "prereg").is_dir():
                return cls(folder)
        raise BadInput(
            "no study root here",
            where=here,
            expected="a folder that holds prereg/, here or above",
            fix="go to a study root, name one with --root DIR, or make one: vjepa-stress demo --out DIR",
        )

    @classmethod
    def find_or_start(cls, given: Path | None = None) -> StudyRoot:
        """The root given, or one that starts here where this folder is empty or no root lies above it."""
        if given is not None:
            return cls(given.resolve())
        here = Path.cwd()
        if not any(here.iterdir()):
            return cls(here)
        try:
            return cls.find()
        except BadInput:
            return cls(here)

    @property
    def prereg(self) -> Path:
        """Folder of frozen documents and the ledger."""
        return self.path / "prereg"

    @property
    def ledger(self) -> Path:
        """The ledger's file."""
        return self.prereg / "ledger.jsonl"

    @property
    def checkpoint(self) -> Path:
        """The file with the ledger's size and root."""
        return self.prereg / "checkpoint"

    def document(self, study: str, version: str) -> Path:
        """The frozen preregistration of one version of a study."""
        return self.prereg / check_study_name(study) / f"{version}.json"

    def clips(self, study: str, dataset: str, digest: Digest) -> Path:
        """The clip manifest with this digest."""
        return self.prereg / study / "clips" / f"{dataset}-{digest.short}.json"

    def outputs(self, study: str, root_document: Digest) -> Path:
        """Everything that ran under a study."""
        return self.path / "outputs" / study / root_document.short

    def attempt(self, study: str, root_document: Digest, number: int) -> Path:
        """One attempt at a study's cells."""
        return self.outputs(study, root_document) / "attempts" / str(number)


def check_study_name(study: str) -> str:
    """Return the name, or refuse one that could leave the folder.

    Raises:
        BadInput: for anything but lowercase letters, digits and underscores.
    """
    if not re.fullmatch(STUDY_NAME, study):
        raise BadInput("this cannot be a study's name", found=study, expected=f"a name like pocket ({STUDY_NAME})")
    return study
