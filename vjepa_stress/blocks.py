"""Building blocks as documents see them, without torch: what identifies a block or a clip, and the vocabularies that
kernels, documents and judging share.
"""

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
"""Tier 1 and 2 have strengths; a probe has a known expected result and runs once."""

Family = Literal["image-noise", "time-axis", "geometry", "calibration"]
"""What a perturbation disturbs."""

Compares = Literal["positions", "regions"]
"""What a metric compares between a clean and a perturbed clip."""

ModelRole = Literal["subject", "control"]
"""Rules judge subjects; a control cannot know anything and stands beside them."""

SCHEMA_PREFIX = "vjepa-stress"


BlockType = Literal["dataset", "perturbation", "encoder", "metric"]
"""The four types of building blocks; the first part of a kind."""

_KIND = re.compile(r"(dataset|perturbation|encoder|metric)/[a-z][a-z0-9_]*")


class Block(BaseModel):
    """Base of all building blocks: frozen, and closed to unknown fields.

    Every class that can be used declares `kind` and `revision` itself; neither is inherited. Together with the fields
    they identify a block, wherever its code lies.

    Attributes:
        block_type: which of the four types of building blocks it is; declared by their bases.
        kind: its permanent name, such as `perturbation/gaussian_noise`. It never changes and is never used again.
        revision: 1, 2, …; a new one whenever the same fields come to mean other numbers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_type: ClassVar[BlockType]
    kind: ClassVar[str]
    revision: ClassVar[int]

    @classmethod
    def identity(cls) -> tuple[str, int]:
        """Kind and revision, as this class itself declares them.

        Raises:
            BadConfiguration: when it declares none, or none that its type can have.
        """
        own = {name: vars(cls).get(name) for name in ("kind", "revision") if name not in cls.model_fields}
        kind, revision = own.get("kind"), own.get("revision")
        fits = isinstance(kind, str) and _KIND.fullmatch(kind) and kind.startswith(f"{cls.block_type}/")
        if not isinstance(kind, str) or not fits or type(revision) is not int or revision < 1:
            name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
            raise BadConfiguration(
                "this building block declares no kind and revision of its own",
                where=f"{cls.__module__}.{cls.__qualname__}",
                expected=f"kind: {cls.block_type}/ and a name of a-z, 0-9 and _; revision: 1 or more",
                found=", ".join(f"{key}: {own.get(key)!r}" for key in ("kind", "revision")),
                fix=f'add to the body of the class: kind = "{cls.block_type}/{name}" and revision = 1',
            )
        return kind, revision

    def spec(self) -> dict[str, Any]:
        """Everything that identifies this block, as JSON values: kind, revision and all its fields.

        Raises:
            BadConfiguration: as `identity`.
        """
        kind, revision = self.identity()
        return {"kind": kind, "revision": revision, **self.model_dump(mode="json")}

    def spec_digest(self) -> Digest:
        """Digest of `spec`, as a preregistration holds it."""
        return digest_of(self.spec())


class ClipRef(Frozen):
    """The identity of one clip: which bytes, which frames; as clip manifests hold it.

    Attributes:
        digest: digest of `source` and `frames`; two clips are the same clip exactly when these agree.
        name: where a person finds it; not part of the identity.
        source: SHA-256 of the source file (for rendered clips: of specification and seed).
        frames: indices of the frames in display order, counted from 0.
        notes: what had to be adapted (a shorter stride, a rotation flag, a variable frame rate).
    """

    digest: Digest
    name: Text
    source: Digest
    frames: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    notes: tuple[Text, ...] = ()

    @model_validator(mode="after")
    def _digest_holds(self) -> Self:
        if (found := clip_digest(self.source, self.frames)) != self.digest:
            raise ValueError(f"digest is {self.digest}, but source and frames have {found}")
        return self

    @classmethod
    def of(cls, name: str, source: Digest, frames: Sequence[int], notes: Sequence[str] = ()) -> ClipRef:
        """Build a reference and its digest."""
        return cls(
            digest=clip_digest(source, frames), name=name, source=source, frames=tuple(frames), notes=tuple(notes)
        )


def clip_digest(source: Digest, frames: Sequence[int]) -> Digest:
    """Digest that identifies a clip: its source bytes and its frame indices."""
    return digest_of({"source": source, "frames": list(frames)})
