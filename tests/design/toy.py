"""A design that has nothing to do with videos: questions, asked by several prompts at several temperatures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tests.verdict import sketch
from vjepa_stress import design as designs
from vjepa_stress import ledger
from vjepa_stress.columns import FLAG, Column
from vjepa_stress.design import Cell, Design, Factor, Identity, Measure
from vjepa_stress.digest import Digest, canonical_json, digest_of, parse_json, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.fields import Frozen, Level, Name
from vjepa_stress.ledger import Checkpoint, Completed, Launched
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.records import (
    CheckpointRecord,
    Manifest,
    Row,
    cell_names,
    content_digest,
    manifests_root,
    read_cell,
    shard_bytes,
    shard_schema,
    write_cell,
)
from vjepa_stress.records.manifest import Worker
from vjepa_stress.study_root import StudyRoot

TEMPERATURES = (0.0, 0.5, 1.0, 1.5)
PROMPTS = ("chatty", "silence", "terse")
CONTROL = "silence"
QUESTIONS = tuple(f"q{n:02}" for n in range(30))
LISTED = canonical_json({"questions": list(QUESTIONS)})
"""The file that lists the questions."""


class Share(NamedTuple):
    """A column with its range."""

    range: tuple[float, float]


class Prompt(Frozen):
    """How questions are asked; a control asks nothing."""

    text: str
    control: bool


class ToyDesign(Design):
    """Temperature × prompt; every cell asks all questions of one exam."""

    unit: ClassVar[str] = "question"
    units: ClassVar[str] = "questions"
    control_factor: ClassVar[str | None] = "prompt"

    kind: Literal["toy"]
    prompts: dict[Name, Prompt] = Field(min_length=1)
    exam: Digest | None = Field(description="of the file that lists the questions; null until the first launch")
    size: int = Field(ge=1, description="questions of the exam")
    decoding: str

    @property
    def factors(self) -> tuple[Factor, ...]:
        """Temperature and prompt."""
        return Factor("temperature", numeric=True), Factor("prompt")

    @property
    def columns(self) -> Mapping[str, Measure]:
        """Accuracy."""
        return {"accuracy": Share((0.0, 1.0))}

    @property
    def layout(self) -> tuple[Column, ...]:
        """The question, its accuracy, how many words the answer has, the flag."""
        return (
            Column("question", "unit"),
            Column("accuracy", "value", "accuracy"),
            Column("words", "count"),
            Column(FLAG, "flag"),
        )

    def stratum(self, cell: Cell) -> str:
        """The one exam."""
        return "exam"

    def count_units(self, stratum: str) -> int:
        """Its questions."""
        return self.size

    @property
    def identities(self) -> Mapping[str, Mapping[str, Identity]]:
        """The exam."""
        return {"questions": {"exam": Identity(digest_of({"exam": self.size}), self.exam)}}

    def bound_to(self, cell: Cell) -> Mapping[str, str]:
        """The exam."""
        return {"questions": "exam"}

    def config(self, cell: Cell) -> dict[str, Any]:
        """The prompt's text and the temperature."""
        return {
            "cell": dict(cell),
            "prompt": self.prompts[str(cell["prompt"])].model_dump(mode="json"),
            "decoding": self.decoding,
        }

    def unit_keys(self, data: bytes) -> tuple[str, ...]:
        """The questions that a file lists."""
        return tuple(parse_json(data)["questions"])

    @property
    def settings(self) -> Mapping[str, str]:
        """How answers are decoded."""
        return {"decoding": self.decoding}

    @property
    def controls(self) -> tuple[str, ...]:
        """Prompts that ask nothing."""
        return tuple(sorted(name for name, one in self.prompts.items() if one.control))

    @property
    def default_levels(self) -> Mapping[str, tuple[Level, ...]]:
        """All prompts that ask something."""
        return {"prompt": tuple(name for name, one in self.prompts.items() if not one.control)}


@contextmanager
def only_toys(kind: type[ToyDesign] = ToyDesign) -> Iterator[None]:
    """Documents may have toy designs, and no others."""
    before = designs.kinds()
    designs._KINDS.clear()
    designs.add_kind("toy", kind)
    try:
        yield
    finally:
        designs._KINDS.clear()
        for name, other in before.items():
            designs.add_kind(name, other)


def fields(*, pinned: bool = True) -> dict[str, Any]:
    """A toy design as a document has it."""
    return {
        "kind": "toy",
        "cells": [{"temperature": t, "prompt": prompt} for t, prompt in product(TEMPERATURES, PROMPTS)],
        "prompts": {name: {"text": f"{name}: answer!", "control": name == CONTROL} for name in PROMPTS},
        "exam": sha256(LISTED) if pinned else None,
        "size": len(QUESTIONS),
        "decoding": "sampling",
    }


TERSE, CHATTY = {"prompt": ["terse"]}, {"prompt": ["chatty"]}
ESTIMANDS: dict[str, dict[str, Any]] = {
    "share": {"statistic": "mean", "metric": "accuracy", "where": TERSE},
    "loss": {"statistic": "trend", "metric": "accuracy", "along": "temperature", "where": TERSE},
    "gain": {"statistic": "difference", "metric": "accuracy", "of": TERSE, "minus": CHATTY},
    "times": {"statistic": "ratio_of_means", "metric": "accuracy", "numerator": TERSE, "denominator": CHATTY},
    "best": {"statistic": "maximum", "metric": "accuracy", "where": {"temperature": [0.0]}},
    "falls": {
        "statistic": "jumps",
        "metric": "accuracy",
        "along": "temperature",
        "levels": list(TEMPERATURES),
        "where": {},
    },
}
RULE = {
    "kind": "all_of",
    "of": [
        {"kind": "band", "estimand": "share", "low": 0.3, "high": 0.9},
        {
            "kind": "trend",
            "estimand": "loss",
            "order": "falling",
            "confirm_at": 0.9,
            "refute_at": 0.5,
            "smallest": 0.05,
        },
        sketch.threshold("gain", 0.0, 0.0),
        sketch.threshold("times", 1.0, 1.0),
        sketch.threshold("best", 0.5, 0.5, "point"),
        {"kind": "monotone", "estimand": "falls", "order": "falling", "smallest": 0.05, "tolerance": 0.05},
    ],
}


def document(*, pinned: bool = True, **more: Any) -> Preregistration:
    """A preregistration with a toy design, and a hypothesis that reads every estimand."""
    return sketch.document(fields(pinned=pinned), [sketch.hypothesis("H1", ESTIMANDS, RULE)], study="toy", **more)


def accuracy(cell: Cell, seed: int = 0) -> NDArray[np.float64]:
    """What the questions come to in a cell, (questions,): it falls with the temperature, and terse is best."""
    number = int(4 * float(cell["temperature"] or 0.0)) + 100 * PROMPTS.index(str(cell["prompt"]))
    noise = np.random.default_rng([seed, number]).normal(0, 0.03, len(QUESTIONS))
    level = {"terse": 0.8, "chatty": 0.6, CONTROL: 0.1}[str(cell["prompt"])]
    values: NDArray[np.float64] = (level - 0.2 * float(cell["temperature"] or 0.0) * (level > 0.5) + noise).clip(0, 1)
    return values


def rows(cell: Cell) -> list[Row]:
    """The rows of a cell's shard."""
    return [
        {"question": name, "accuracy": float(value), "words": n, FLAG: False}
        for n, (name, value) in enumerate(zip(QUESTIONS, accuracy(cell), strict=True))
    ]


def run(
    root: StudyRoot, promised: Preregistration, change: Callable[[Cell, list[Row]], list[Row]] = lambda _, rows: rows
) -> None:
    """Register a study, and leave behind what a run of it would: shards, manifests, leaves of the ledger.

    Args:
        change: what to do to the rows of a cell before they are written.
    """
    study, design = promised.study, promised.design
    freeze.register(root, promised, {"exam": LISTED} if design.identities["questions"]["exam"].digest else {})
    write_durably(root.clips(study, "exam", sha256(LISTED)), LISTED)
    registration = freeze.load(root, study)
    names = cell_names(registration.lineage)[registration.digest]
    mine: dict[str, Any] = {"study": study, "document": registration.digest, "attempt": 1}
    bound = {"questions": {"exam": sha256(LISTED)}}
    code = sha256(b"code")
    _, checkpoint = ledger.append(
        root,
        Launched,
        **mine,
        deviation=None,
        cells=sorted(names),
        code=code,
        dirty=False,
        commit=None,
        identities=bound,
        specs={"exam": design.identities["questions"]["exam"].spec},
    )
    folder = root.attempt(study, registration.root_digest, 1) / "cells"
    for name, cell in names.items():
        shard = change(cell, rows(cell))
        write_cell(folder / name, *_stored(promised, registration.digest, cell, shard, checkpoint, code))
    stored = [read_cell(folder / name) for name in sorted(names)]
    ledger.append(root, Completed, **mine, root=manifests_root(stored), cells=len(stored))


def _stored(
    promised: Preregistration, digest: Digest, cell: Cell, shard: list[Row], checkpoint: Checkpoint, code: Digest
) -> tuple[bytes, Manifest]:
    data = shard_bytes(shard, shard_schema(promised.design))
    manifest = Manifest(
        schema="vjepa-stress/manifest/v3",
        prereg_digest=digest,
        ledger_checkpoint=CheckpointRecord(size=checkpoint.size, root=checkpoint.root),
        attempt=1,
        cell=cell,
        shard_digest=sha256(data),
        content_digest=content_digest(shard),
        rows=len(shard),
        config_digest=promised.design.config_digest(cell),
        identities={"questions": sha256(LISTED)},
        units=QUESTIONS,
        settings=dict(promised.design.settings),
        code_digest=code,
        code_dirty=False,
        workers=(Worker(host="none", device="none", threads=1, batch=1, packages={}),),
        started="2026-01-01T00:00:00Z",
        finished="2026-01-01T00:00:01Z",
        seconds={},
    )
    return data, manifest


def root(folder: Path) -> StudyRoot:
    """An empty study root."""
    (folder / "prereg").mkdir(parents=True)
    return StudyRoot(folder)
