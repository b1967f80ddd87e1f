"""What a ledger's lines say: one model for each event, told apart by `event`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter

from vjepa_stress.digest import Digest, canonical_json
from vjepa_stress.fields import DataStatus, Frozen, Name, Reason, Text, Time, Version
from vjepa_stress.study_root import STUDY_NAME

Number = Annotated[int, Field(ge=1)]


class Leaf(Frozen):
    """What every event has.

    Attributes:
        seq: number of leaves before this one.
        prev_root: Merkle root of the tree before this leaf.
    """

    # Every line has every field of its event, and its JSON Schema says so.
    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    schema_: Literal["vjepa-stress/leaf/v2"] = Field("vjepa-stress/leaf/v2", alias="schema")
    event: str
    seq: int = Field(ge=0)
    at: Time = Field(description="UTC; informative: order is proven by the tree")
    study: str = Field(pattern=STUDY_NAME)
    document: Digest = Field(description="of the document that the event is about")
    prev_root: Digest = Field(description="root of the tree before this leaf")

    def to_bytes(self) -> bytes:
        """The canonical bytes of a line, without its newline."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))


class Promise(Leaf):
    """A document was frozen."""

    version: Version
    data_status: DataStatus
    hypotheses: tuple[Name, ...]


class Registered(Promise):
    """The first document of a study was frozen."""

    event: Literal["registered"] = "registered"


class Revision(Promise):
    """The next document of a registered study was frozen.

    Attributes:
        changed: paths of what differs from the document before it, such as `H1.rule.confirm_at`.
    """

    parent: Digest = Field(description="of the document before it")
    reason: Reason
    changed: tuple[Text, ...]


class Amended(Revision):
    """The next document of a study was frozen, and it changes more than it withdraws."""

    event: Literal["amended"] = "amended"


class Withdrawn(Revision):
    """The next document of a study was frozen, and it does nothing but withdraw."""

    event: Literal["withdrawn"] = "withdrawn"


class Execution(Leaf):
    """Cells were about to be computed.

    Attributes:
        cells: folder names of the cells.
        code: digest of the code.
        dirty: whether the code had changes that are not committed.
        commit: the commit, where one is known.
        identities: for each kind (`weights`, `clips`), what each name stood for.
        specs: specification of each data set used.
    """

    cells: tuple[Text, ...]
    code: Digest
    dirty: bool
    commit: str | None
    identities: dict[str, dict[str, Digest]]
    specs: dict[str, Digest]

    def bound(self, kind: str) -> dict[str, Digest]:
        """What names stood for, for one kind of identity; empty when the launch bound none of it."""
        return self.identities.get(kind, {})


class Launched(Execution):
    """Registered cells were about to be computed.

    Attributes:
        deviation: why the code differs from that of the attempt's earlier launches.
    """

    event: Literal["launched"] = "launched"
    attempt: Number
    deviation: str | None


class Explored(Execution):
    """Cells of no registered design were about to be computed; `document` is the digest of that design."""

    event: Literal["explored"] = "explored"


class Completed(Leaf):
    """All registered cells of an attempt are there.

    Attributes:
        root: Merkle root over their manifests.
        cells: how many they are.
    """

    event: Literal["completed"] = "completed"
    attempt: Number
    root: Digest
    cells: Number


class Failed(Leaf):
    """A launch ended without some of its cells.

    Attributes:
        cells: folder names of the cells that are missing.
        messages: what failed, for those that left a record.
    """

    event: Literal["failed"] = "failed"
    attempt: Number
    cells: tuple[Text, ...]
    messages: tuple[str, ...]


class Viewed(Leaf):
    """Somebody looked at results.

    Attributes:
        look: the command that showed them.
        files: digest of each file that was written, by its path in the study's output folder.
        exploratory: whether the gate objected, so that no verdict was given.
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
