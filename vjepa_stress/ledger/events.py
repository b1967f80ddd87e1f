"""Events of the ledger: one model per event, distinguished by the field `event`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from vjepa_stress.digest import Digest, canonical_json
from vjepa_stress.fields import DataStatus, Frozen, Name, Reason, Text, Time, Version
from vjepa_stress.study_root import STUDY_NAME

Number = Annotated[int, Field(ge=1)]


class Leaf(Frozen):
    """Fields of every event.

    Attributes:
        seq: number of leaves before this one.
        prev_root: Merkle root of the tree before this leaf.
    """

    # Every line has all fields of its event, so all fields are required in the JSON Schema.
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    schema_: Literal["vjepa-stress/leaf/v2"] = Field("vjepa-stress/leaf/v2", alias="schema")
    event: str
    seq: int = Field(ge=0)
    at: Time = Field(description="UTC; informative, because the tree proves the order")
    study: str = Field(pattern=STUDY_NAME)
    document: Digest = Field(description="digest of the document that the event refers to")
    prev_root: Digest = Field(description="root of the tree before this leaf")

    def to_bytes(self) -> bytes:
        """Canonical bytes of the line, without the newline."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


class DocumentLeaf(Leaf):
    """A document was frozen."""

    version: Version
    data_status: DataStatus
    hypotheses: tuple[Name, ...]


class Registered(DocumentLeaf):
    """The first document of a study was frozen."""

    event: Literal["registered"] = "registered"


class Revision(DocumentLeaf):
    """The next document of a registered study was frozen.

    Attributes:
        changed: paths of what differs from the document before it, such as `H1.rule.confirm_at`.
    """

    parent: Digest = Field(description="digest of the previous document")
    reason: Reason
    changed: tuple[Text, ...]


class Amended(Revision):
    """The next document of a study was frozen. It does more than withdraw."""

    event: Literal["amended"] = "amended"


class Withdrawn(Revision):
    """The next document of a study was frozen. It only withdraws."""

    event: Literal["withdrawn"] = "withdrawn"


class Execution(Leaf):
    """A run is about to compute cells.

    Attributes:
        cells: folder names of the cells.
        code: digest of the code.
        dirty: whether the code has uncommitted changes.
        commit: the commit, if known.
        identities: for each kind (`weights`, `clips`), the digest of each name.
        specs: digest of the specification of each data set.
    """

    cells: tuple[Text, ...]
    code: Digest
    dirty: bool
    commit: str | None
    identities: dict[str, dict[str, Digest]]
    specs: dict[str, Digest]

    def bound(self, kind: str) -> dict[str, Digest]:
        """Digests by name, for one kind of identity; empty when the launch bound none."""
        return self.identities.get(kind, {})


class Launched(Execution):
    """A run is about to compute registered cells.

    Attributes:
        deviation: the reason why the code differs from that of earlier launches of the attempt.
    """

    event: Literal["launched"] = "launched"
    attempt: Number
    deviation: str | None


class Explored(Execution):
    """A run is about to compute cells outside any registered design. `document` is the digest of its design."""

    event: Literal["explored"] = "explored"


class Completed(Leaf):
    """All registered cells of an attempt are stored.

    Attributes:
        root: Merkle root over their manifests.
        cells: number of cells.
    """

    event: Literal["completed"] = "completed"
    attempt: Number
    root: Digest
    cells: Number


class Failed(Leaf):
    """A launch ended, and some of its cells are missing.

    Attributes:
        cells: folder names of the missing cells.
        messages: error messages of the cells that have a failure record.
    """

    event: Literal["failed"] = "failed"
    attempt: Number
    cells: tuple[Text, ...]
    messages: tuple[str, ...]


class Viewed(Leaf):
    """A command showed results.

    Attributes:
        look: the command.
        files: digest of each written file, by its path in the output folder of the study.
        exploratory: whether the gate had objections, so that the results are not verdicts.
    """

    event: Literal["viewed"] = "viewed"
    look: Literal["verdict", "report"]
    files: dict[str, Digest]
    exploratory: bool


Event = Annotated[
    Registered | Amended | Withdrawn | Launched | Explored | Completed | Failed | Viewed,
    Field(discriminator="event"),
]
"""Any event."""

EVENT = TypeAdapter[Event](Event)


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a line."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **EVENT.json_schema(by_alias=True, mode="serialization"),
    }
