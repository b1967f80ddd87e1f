"""Darkening by a gamma curve."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from vjepa_stress.interfaces import Perturbation, Video


class LowLight(Perturbation):
    """Darkening, x^γ with γ = 1 + gamma_added_at_full · s.

    Attributes:
        gamma_added_at_full: γ − 1 at strength 1.
    """

    kind = "perturbation/low_light"
    revision = 1
    role = "tier1"
    family = "image-noise"
    correspondence = "in-place"

    gamma_added_at_full: float = Field(gt=0)

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:  # noqa: ARG002
        """Darken the clips; `seeds` is not used."""
        if not strength:
            return video.clone()
        return video.pow(1 + self.gamma_added_at_full * strength).clamp_(0, 1)
