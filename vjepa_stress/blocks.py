"""Identities of building blocks and clips, and the vocabularies of kernels, documents and judging. Without torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vjepa_stress.digest import Digest, digest_of
from vjepa_stress.errors import BadConfiguration
from vjepa_stress.fields import Frozen, Text

Correspondence = Literal["in-place", "time-reversed", "mirrored", "rotated"]
"""How positions of a perturbed clip map to positions of the clean clip."""

PerturbationRole = Literal["tier1", "tier2", "probe"]
"""Perturbations of tier 1 and 2 have strengths. A probe has a known expected result and no strength."""

Family = Literal["image-noise", "time-axis", "geometry", "calibration"]
"""The property of a video that a perturbation changes."""

Compares = Literal["positions", "regions"]
"""Whether a metric compares the clean and the perturbed clip by position or by region."""

ModelRole = Literal["subject", "control"]
"""Rules judge subjects. A control (an untrained model, raw pixels) is computed in the same cells for comparison."""

BlockType = Literal["dataset", "perturbation", "encoder", "metric"]
"""The four types of building blocks; the first part of a kind."""

_KIND = re.compile(r"(dataset|perturbation|encoder|metric)/[a-z][a-z0-9_]*")


class Block(BaseModel):
    """Base class of all building blocks: frozen, without unknown fields.

    Every concrete class declares `kind` and `revision` itself; neither is inherited. Kind, revision and fields
    identify a block. The location of its code does not.

    Attributes:
        block_type: type of the building block; declared by the four base classes.
        kind: permanent name, such as `perturbation/gaussian_noise`. It never changes and is never reused.
        revision: 1, 2, …; it increases when the same fields produce different numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_type: ClassVar[BlockType]
    kind: ClassVar[str]
    revision: ClassVar[int]

    @classmethod
    def identity(cls) -> tuple[str, int]:
        """Kind and revision, as declared by this class itself.

        Raises:
            BadConfiguration: when one of them is missing or invalid for the type of block.
        """
        own = {name: vars(cls).get(name) for name in ("kind", "revision") if name not in cls.model_fields}
        kind, revision = own.get("kind"), own.get("revision")
        fits = isinstance(kind, str) and _KIND.fullmatch(kind) and kind.startswith(f"{cls.block_type}/")
        if not isinstance(kind, str) or not fits or type(revision) is not int or revision < 1:
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
            raise BadConfiguration(
                "a building block does not declare a valid kind and revision of its own",
                where=f"{cls.__module__}.{cls.__qualname__}",
                expected=f"kind: {cls.block_type}/ and a name of a-z, 0-9 and _; revision: an integer from 1",
                found=", ".join(f"{key}: {own.get(key)!r}" for key in ("kind", "revision")),
                fix=f'add to the body of the class: kind = "{cls.block_type}/{name}" and revision = 1',
            )
        return kind, revision

    def spec(self) -> dict[str, Any]:
        """Everything that identifies this block, as JSON values: kind, revision and all its fields.

        Raises:
            BadConfiguration: see `identity`.
        """
        kind, revision = self.identity()
        return {"kind": kind, "revision": revision, **self.model_dump(mode="json")}

    def spec_digest(self) -> Digest:
        """Digest of `spec`, which preregistrations hold."""
        return digest_of(self.spec())


class ClipRef(Frozen):
    """The identity of one clip: the bytes of its source and the indices of its frames. Clip manifests hold it.

    Attributes:
        digest: digest of `source` and `frames`. Two clips are identical if and only if their digests are equal.
        name: a name for readers, such as the path of the file; not part of the identity.
        source: SHA-256 of the source file; for rendered clips, of specification and seed.
        frames: indices of the frames in display order, from 0.
        notes: adaptations to the source (a shorter stride, a rotation flag, a variable frame rate).
    """

    digest: Digest
    name: Text
    source: Digest
    frames: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    notes: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _digest_matches(self) -> Self:
        if (found := clip_digest(self.source, self.frames)) != self.digest:
            raise ValueError(f"the digest is {self.digest}, but source and frames give {found}")
        return self

    @classmethod
    def of(cls, name: str, source: Digest, frames: Sequence[int], notes: Sequence[str] = ()) -> ClipRef:
        """Create a reference and compute its digest."""
        return cls(
            digest=clip_digest(source, frames), name=name, source=source, frames=tuple(frames), notes=tuple(notes)
        )


def clip_digest(source: Digest, frames: Sequence[int]) -> Digest:
    """Digest that identifies a clip, computed from the digest of its source and its frame indices."""
    return digest_of({"source": source, "frames": list(frames)})
