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
    """Paths of all files of a study."""

    path: Path

    @classmethod
    def find(cls, start: Path | None = None, given: Path | None = None) -> StudyRoot:
        """The given root, or the nearest folder that holds `prereg/`, from `start` upwards.

        Raises:
            BadInput: when there is no such folder.
        """
        if given is not None:
            if not (given / "prereg").is_dir():
                raise BadInput(
                    "this folder is not a study root",
                    where=given,
                    expected="a folder that holds prereg/",
                    fix="name another folder with --root DIR, or create one: vjepa-stress new STUDY --root DIR",
                )
            return cls(given.resolve())
        here = (start or Path.cwd()).resolve()
        for folder in (here, *here.parents):
            if (folder / "prereg").is_dir():
                return cls(folder)
        raise BadInput(
            "there is no study root in this folder or above it",
            where=here,
            expected="a folder that holds prereg/",
            fix="go to a study root, name one with --root DIR, or create one: vjepa-stress new STUDY",
        )

    @classmethod
    def find_or_start(cls, given: Path | None = None) -> StudyRoot:
        """The given root; else the nearest root, or the current folder if it is empty or there is no root."""
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
        """File of the ledger."""
        return self.prereg / "ledger.jsonl"

    @property
    def checkpoint(self) -> Path:
        """File with the size and root of the ledger."""
        return self.prereg / "checkpoint"

    def document(self, study: str, version: str) -> Path:
        """File of the frozen preregistration of one version of a study."""
        return self.prereg / check_study_name(study) / f"{version}.json"

    def clips(self, study: str, dataset: str, digest: Digest) -> Path:
        """File of the clip manifest with this digest."""
        return self.prereg / study / "clips" / f"{dataset}-{digest.short}.json"

    def outputs(self, study: str, root_document: Digest) -> Path:
        """Folder of all outputs of a study, named after the digest of its first document."""
        return self.path / "outputs" / study / root_document.short

    def attempt(self, study: str, root_document: Digest, number: int) -> Path:
        """Folder of one attempt at the cells of a study."""
        return self.outputs(study, root_document) / "attempts" / str(number)


def check_study_name(study: str) -> str:
    """Return the name of a study, or refuse it: a name could otherwise be a path outside the study root.

    Raises:
        BadInput: for anything but lowercase letters, digits and underscores.
    """
    if not re.fullmatch(STUDY_NAME, study):
        raise BadInput(
            "invalid name of a study",
            found=study,
            expected=f"a name like pocket ({STUDY_NAME})",
            fix="use up to 64 lowercase letters, digits and underscores, starting with a letter",
        )
    return study
