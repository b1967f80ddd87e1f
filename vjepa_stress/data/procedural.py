"""Rendered clips with exact object masks; they need no files and are bit-identical on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import Field

from vjepa_stress.blocks import ClipRef, clip_digest
from vjepa_stress.data.scene import Scene, compose, draw
from vjepa_stress.data.texture import Draws
from vjepa_stress.data.video import resize, resize_masks
from vjepa_stress.digest import Digest, digest_of
from vjepa_stress.errors import BadInput
from vjepa_stress.interfaces import Dataset, Sample

_PREFIX = "procedural/"


def render(
    seed: int, *, frames: int, size: int, max_objects: int = 4, travel: float = 0.35, camera: float = 0.25
) -> tuple[UInt8[np.ndarray, "t s s 3"], UInt8[np.ndarray, "t s s"]]:
    """Render one clip: textured shapes that move, turn, grow and occlude one another over a moving background.

    Args:
        seed: any non-negative integer; determines the clip.
        frames: T; the motion is the same for any number of frames.
        size: S, rows and columns in pixels.
        max_objects: largest number of objects in the clip, 1 to 4.
        travel: smallest distance that each object moves, as a fraction of the frame's side.
        camera: largest distance that the background moves, as a fraction of the frame's side.

    Returns:
        8-bit RGB (T, S, S, 3), and object ids (T, S, S): 0 for the background, k for the k-th object, which occludes
        objects with lower ids. In the first frame every object is fully visible and covers at least 1.5 % of the
        frame.
    """
    scene = compose(Draws(seed), frames, size, max_objects, travel, camera)
    return draw(scene, frames, size)


class Procedural(Dataset):
    """Rendered clips, each from its own seed.

    Clips are rendered at `size` for every resolution and then resized like footage, so that the digest of
    specification and index identifies one set of pixels. The specification includes the revision, which increases
    whenever the pixels of any clip change.

    Attributes:
        n_clips: number of clips.
        first_index: index of the first clip, below 2**52; disjoint ranges give disjoint clips.
        render_seed: seed of the series; below 2**53.
        size: rows and columns as rendered, in pixels.
        max_objects: largest number of objects in a clip.
        travel: smallest distance that an object moves, as a fraction of the frame's side.
        camera: largest distance that the background moves, as a fraction of the frame's side.
    """

    kind = "dataset/procedural"
    revision = 1

    n_clips: int = Field(ge=1)
    first_index: int = Field(ge=0, lt=2**52)
    render_seed: int = Field(ge=0, lt=2**53)
    size: int = Field(ge=32, le=4096)
    max_objects: int = Field(ge=1, le=4)
    travel: float = Field(ge=0.0, le=0.5)
    camera: float = Field(ge=0.0, le=1.0)

    def identify(self, home: Path | None, frames: int) -> tuple[ClipRef, ...]:  # noqa: ARG002
        """Identify the clips without rendering them; `home` is not used."""
        indices = range(self.first_index, self.first_index + self.n_clips)
        return tuple(ClipRef.of(f"{_PREFIX}{i:06d}", self._source(i), range(frames)) for i in indices)

    def read(self, clip: ClipRef, home: Path | None, resolution: int) -> Sample:  # noqa: ARG002
        """Render one clip, with its masks; `home` is not used.

        Raises:
            BadInput: when the reference is not that of a rendered clip.
        """
        number = clip.name.removeprefix(_PREFIX)
        if number == clip.name or not (number.isascii() and number.isdecimal()):
            raise BadInput(
                "this is not the name of a rendered clip",
                where=clip.name,
                expected=f"{_PREFIX} and a number",
                fix="use the references that `identify` returns",
            )
        if clip.frames != tuple(range(len(clip.frames))):
            raise BadInput(
                "the frames of a rendered clip must be in order from 0",
                where=clip.name,
                found=list(clip.frames),
                fix="use the references that `identify` returns",
            )
        source = self._source(int(number))
        video, ids = draw(self.scene(int(number), len(clip.frames)), len(clip.frames), self.size)
        pixels = torch.from_numpy(np.ascontiguousarray(video.transpose(3, 0, 1, 2)))
        return Sample(
            pixels=resize(pixels, resolution, resolution),
            digest=clip_digest(source, clip.frames),
            masks=resize_masks(torch.from_numpy(ids).long(), resolution, resolution),
        )

    def scene(self, index: int, frames: int) -> Scene:
        """The scene of one clip, with the exact position of each object in each frame."""
        draws = Draws(int(self._source(index).hex, 16))
        return compose(draws, frames, self.size, self.max_objects, self.travel, self.camera)

    def _source(self, index: int) -> Digest:
        """Digest of everything that determines a clip's pixels; also the seed of the renderer."""
        appearance = {key: value for key, value in self.spec().items() if key not in {"n_clips", "first_index"}}
        return digest_of({**appearance, "index": index})
