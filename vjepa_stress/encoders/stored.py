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
"""Folder of the weights that ship with the package."""


class Stored(Shaped):
    """A small encoder in one safetensors file. float16 and bfloat16 are converted to float32, without rounding.

    Attributes:
        file: name of the file, which ships with the package or is in the folder of checkpoints.
        sha256: digest of the file; None if it is not pinned.
    """

    kind = "encoder/vjepa21_stored"
    revision = 1

    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.safetensors$")
    sha256: Digest | None

    def identify(self, store: Path) -> Digest:
        """Digest of the file's bytes.

        Raises:
            NotHere: when the file is neither in the package nor in `store`.
            BadCheckpoint: when it cannot be read.
            IdentityChanged: when it is not the pinned file, or package and `store` have different files of that name.
        """
        return self._verified(store)[2]

    def load(self, store: Path, device: torch.device, dtype: DType, compiled: bool) -> LoadedEncoder:
        """Verify the file, then build the model from the same bytes.

        Raises:
            NotHere, IdentityChanged: as `identify`.
            BadCheckpoint: when it is damaged or does not fit.
        """
        path, data, digest = self._verified(store)
        try:
            tensors = load(data)
        except (SafetensorError, KeyError) as error:  # KeyError for number formats that torch does not have
            raise BadCheckpoint(
                "the weights are not a safetensors file that torch can read",
                where=path,
                found=str(error),
                fix="copy or download the file again",
            ) from None
        model = assemble(self.architecture, checked_copy(tensors, path, self.architecture))
        return LoadedEncoder(weights=digest, encode=pixel_encoder(model, device, dtype, compiled))

    def _verified(self, store: Path) -> tuple[Path, bytes, Digest]:
        candidates = (SHIPPED / self.file, store / self.file)
        paths = [path for path in candidates if path.is_file()]
        if not paths:
            raise NotHere(
                "the weights are not on this machine",
                expected=" or ".join(map(str, candidates)),
                fix=f"train the model with vjepa-stress pretrain, and copy {self.file} to {store}",
            )
        path = paths[0]
        try:
            data, others = path.read_bytes(), [other.read_bytes() for other in paths[1:]]
        except OSError as error:
            raise BadCheckpoint(
                "the weights cannot be read", where=path, found=error.strerror, fix="check the file's permissions"
            ) from error
        digest = sha256(data)
        if any(other != data for other in others):
            raise IdentityChanged(
                "two files of weights have the same name",
                where=paths[1],
                expected=f"{digest}, as {path}",
                found=sha256(others[0]),
                fix="rename your file, also in `file` of the model's YAML file",
            )
        if self.sha256 is not None and digest != self.sha256:
            raise IdentityChanged(
                "the weights do not have the known digest",
                where=path,
                expected=f"{self.sha256} (pinned)",
                found=digest,
                fix="restore the known file; other weights are another model and need another YAML file",
            )
        return path, data, digest
