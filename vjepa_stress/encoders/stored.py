"""Encoders trained with this project: V-JEPA 2.1's architecture, weights in safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load

from vjepa_stress.digest import Digest, sha256
from vjepa_stress.encoders.released import assemble, checked_copy, pixel_encoder
from vjepa_stress.encoders.shaped import Shaped
from vjepa_stress.errors import BadCheckpoint, IdentityChanged, NotHere
from vjepa_stress.interfaces import DType, LoadedEncoder

SHIPPED = Path(__file__).parent / "pocket"
"""Weights that travel with the package."""


class Stored(Shaped):
    """A small encoder in one safetensors file; float16 and bfloat16 are loaded to float32, which holds them exactly.

    Attributes:
        file: name of the file, which ships with the package or lies in the folder of checkpoints.
        sha256: digest of the file. None: not pinned.
    """

    kind = "encoder/vjepa21_stored"
    revision = 1

    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors$")
    sha256: Digest | None

    def identify(self, store: Path) -> Digest:
        """Digest of the file's bytes.

        Raises:
            NotHere: when it neither ships nor lies in `store`.
            BadCheckpoint: when it cannot be read.
            IdentityChanged: when it is not the pinned file, or both places hold a file of that name that differ.
        """
        return self._verified(store)[2]

    def load(self, store: Path, device: torch.device, dtype: DType, compiled: bool) -> LoadedEncoder:
        """Verify the file, then build the model from those very bytes.

        Raises:
            NotHere, IdentityChanged: as `identify`.
            BadCheckpoint: when it is damaged or does not fit.
        """
        path, data, digest = self._verified(store)
        try:
            tensors = load(data)
        except (SafetensorError, KeyError) as error:  # the latter for number formats that torch does not have
            raise BadCheckpoint(
                "this is no safetensors file that torch reads, or a damaged one",
                where=path,
                found=str(error),
                fix="get it again",
            ) from None
        model = assemble(self.architecture, checked_copy(tensors, path, self.architecture))
        return LoadedEncoder(weights=digest, encode=pixel_encoder(model, device, dtype, compiled))

    def _verified(self, store: Path) -> tuple[Path, bytes, Digest]:
        places = (SHIPPED / self.file, store / self.file)
        there = [place for place in places if place.is_file()]
        if not there:
            raise NotHere(
                "the weights are not on this machine",
                expected=" or ".join(map(str, places)),
                fix=f"train the model, and put {self.file} there",
            )
        path = there[0]
        try:
            data, others = path.read_bytes(), [place.read_bytes() for place in there[1:]]
        except OSError as error:
            raise BadCheckpoint("these weights cannot be read", where=path, found=error.strerror) from error
        digest = sha256(data)
        if any(other != data for other in others):
            raise IdentityChanged(
                "two files of weights have the same name",
                where=there[1],
                expected=f"{digest}, as {path}",
                found=sha256(others[0]),
                fix="give weights of your own a name of their own, in `file` of the model's YAML",
            )
        if self.sha256 is not None and digest != self.sha256:
            raise IdentityChanged(
                "these weights are not the known ones",
                where=path,
                expected=f"{self.sha256} (pinned)",
                found=digest,
                fix="put the known file back; other weights are another model, with a YAML of its own",
            )
        return path, data, digest
