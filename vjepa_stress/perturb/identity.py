"""No perturbation, to calibrate the whole path."""

from __future__ import annotations

from collections.abc import Sequence

from vjepa_stress.interfaces import Perturbation, Video


class Identity(Perturbation):
    """A copy, clipped to [0, 1]; every metric must be at its noise floor."""

    kind = "perturbation/identity"
    revision = 1
    role = "probe"
    family = "calibration"
    correspondence = "in-place"

    def __call__(self, video: Video, strength: float | None, seeds: Sequence[int]) -> Video:  # noqa: ARG002
        """Copy the clips (probe: `strength` and `seeds` are not used)."""
        return video.clone().clamp_(0, 1)
