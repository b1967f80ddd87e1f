"""Meta's released V-JEPA 2.1 checkpoints: loaded safely and strictly, identified by the digest of their bytes."""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from vjepa_stress.digest import Digest, sha256_stream
from vjepa_stress.encoders.vjepa21 import VJEPA21, VJEPA21Config
from vjepa_stress.errors import BadCheckpoint, IdentityChanged, NotHere
from vjepa_stress.interfaces import DType, Encoder, Features, LoadedEncoder, Video

Size = Literal["base", "large", "giant", "gigantic"]
"""The four released sizes."""

SIZES: dict[Size, VJEPA21Config] = {
    "base": VJEPA21Config(embed_dim=768, depth=12, num_heads=12, mlp_ratio=4),
    "large": VJEPA21Config(embed_dim=1024, depth=24, num_heads=16, mlp_ratio=4),
    "giant": VJEPA21Config(embed_dim=1408, depth=40, num_heads=22, mlp_ratio=48 / 11),
    "gigantic": VJEPA21Config(embed_dim=1664, depth=48, num_heads=26, mlp_ratio=64 / 13),
}
"""Architectures of the release (patch 16, tubelet 2, trained at 384 px)."""

ENCODER_KEYS = ("ema_encoder", "target_encoder")
"""Entries of a released file that may hold the encoder for evaluation: the averaged one, not the trained one."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Larger than the number of shapes and models in one process. A sweep over six models reaches the default, 8.
_COMPILED_VARIANTS = 256


class Released(Encoder):
    """One released checkpoint.

    Attributes:
        size: its architecture, a key of `SIZES`.
        file: its name in the folder of checkpoints.
        url: its published address.
        key: entry of the file that holds the encoder.
        sha256: digest of the file. None: the digest of the first download is recorded and required from then on.
    """

    kind = "encoder/vjepa21_released"
    revision = 1

    size: Size
    file: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    url: str = Field(pattern=r"^https?://[^\s/]+/\S+$")
    key: str
    sha256: Digest | None

    def check_input(self, frames: int, resolution: int) -> None:
        """Refuse clips that do not divide into whole tokens."""
        SIZES[self.size].check_input(frames, resolution)

    def feature_shape(self, frames: int, resolution: int) -> tuple[int, int, int, int]:
        """Temporal positions, rows, columns and channels of the features of one clip."""
        return SIZES[self.size].feature_shape(frames, resolution)

    def identify(self, store: Path) -> Digest:
        """Digest of the checkpoint's bytes.

        Raises:
            NotHere: when it is not in `store`.
            IdentityChanged: when it does not have the pinned or the recorded digest.
        """
        with self._verified(store) as (_, digest):
            return digest

    def load(self, store: Path, device: torch.device, dtype: DType, compiled: bool) -> LoadedEncoder:
        """Verify the checkpoint, then build the model from the same bytes.

        Raises:
            NotHere, IdentityChanged: as `identify`, and when the file changes while it is read.
            BadCheckpoint: when it is unsafe or does not fit.
        """
        with self._verified(store) as (stream, digest):
            model = _read_model(stream, store / self.file, SIZES[self.size], self.key)
        return LoadedEncoder(weights=digest, encode=pixel_encoder(model, device, dtype, compiled))

    @contextmanager
    def _verified(self, store: Path) -> Iterator[tuple[BufferedReader, Digest]]:
        path = store / self.file
        if not path.is_file():
            raise NotHere(
                "the weights are not on this machine",
                expected=path,
                fix=f"vjepa-stress fetch {self.size}",
            )
        with _reading(path) as stream:
            digest = sha256_stream(stream)
            self.check_digest(digest, path)
            yield stream, digest

    def check_digest(self, digest: Digest, path: Path) -> None:
        """Compare a digest with the pinned one and with the one recorded next to `path`, if they exist.

        Raises:
            IdentityChanged: when it differs from either.
        """
        for source, known in (("pinned", self.sha256), ("recorded when it was first fetched", recorded(path))):
            if known is not None and known != digest:
                raise IdentityChanged(
                    "the weights do not have the known digest",
                    where=path,
                    expected=f"{known} ({source})",
                    found=digest,
                    fix="restore the known file; other weights are another model and need another YAML file",
                )


def record_of(path: Path) -> Path:
    """The file with the recorded digest of the checkpoint at `path`, in the format of `sha256sum`."""
    return path.with_name(path.name + ".sha256")


def recorded(path: Path) -> Digest | None:
    """The recorded digest of the checkpoint at `path`, or None.

    Raises:
        IdentityChanged: when the record cannot be read.
    """
    record = record_of(path)
    if not record.exists():
        return None
    text = record.read_bytes()
    found = re.fullmatch(rb"([0-9a-f]{64})  (.+)\n", text)
    if not found or found[2] != path.name.encode():
        raise IdentityChanged(
            "the recorded digest of the weights cannot be read",
            where=record,
            expected=f"64 hexadecimal digits, two spaces, {path.name}",
            found=text[:80],
            fix="restore this file; or delete it and the weights, and fetch the weights again",
        )
    return Digest("sha256:" + found[1].decode())


def load_released(path: str | os.PathLike[str], config: VJEPA21Config, key: str | None = None) -> VJEPA21:
    """Read a checkpoint in the layout of Meta's release.

    Args:
        path: a file that `torch.save` wrote: {key: state dictionary, …}. Only tensors and plain containers are
            unpickled.
        config: the architecture that it must fit, tensor by tensor.
        key: the entry with the encoder; None takes `ema_encoder` or `target_encoder`, whichever exists.

    Returns:
        The frozen encoder, on the CPU, in float32. It does not use the file any further.

    Raises:
        BadCheckpoint: when the file is missing, truncated, unsafe or not a checkpoint; when it does not have the
            entry; when a tensor is missing, unexpected, not finite, or has a wrong shape or format. The message names
            it.
        IdentityChanged: when the file changes while it is read.
    """
    with _reading(Path(path)) as stream:
        return _read_model(stream, Path(path), config, key)


def imagenet_colours(device: torch.device) -> tuple[Float[Tensor, "3 1 1 1"], Float[Tensor, "3 1 1 1"]]:
    """ImageNet's mean and standard deviation, to normalise pixels in [0, 1]."""
    mean, deviation = (torch.tensor(x, device=device).view(3, 1, 1, 1) for x in (IMAGENET_MEAN, IMAGENET_STD))
    return mean, deviation


def pixel_encoder(model: VJEPA21, device: torch.device, dtype: DType, compiled: bool) -> Callable[[Video], Features]:
    """Wrap an encoder so that it maps pixels to a grid of features.

    Args:
        model: the encoder; it is moved to `device` and cast to `dtype`.
        device: device of the computation and of the features.
        dtype: number format of the computation; features are float32 in any case.
        compiled: whether to compile the blocks with `torch.compile`, which changes the last bits of the result.

    Returns:
        A function from video in [0, 1], (B, 3, T, H, W), to features (B, T', H', W', D). It normalises by ImageNet's
        mean and standard deviation, as the release's evaluation does.
    """
    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    model = model.eval().requires_grad_(False).to(device=device, dtype=kind)
    if compiled:
        # Blocks share one compiled kernel: compiling it takes seconds, compiling the whole model takes minutes.
        # With `fullgraph`, a block that cannot be compiled is an error and not a silent fallback.
        for block in model.blocks:
            block.compile(fullgraph=True, dynamic=False)
    mean, std = imagenet_colours(device)

    def encode(video: Video) -> Features:
        # Importing the compiler takes seconds, and only a compiled model needs the higher limit.
        limit = torch._dynamo.config.patch(recompile_limit=_COMPILED_VARIANTS) if compiled else nullcontext()
        with torch.inference_mode(), limit:
            grid = model.grid(video)
            normalised = (video.to(device=device, dtype=torch.float32) - mean) / std
            features: Tensor = model(normalised.to(kind)).float().unflatten(1, grid)
            return features

    return encode


@contextmanager
def _reading(path: Path) -> Iterator[BufferedReader]:
    """Open a file, and verify that it did not change until it was closed."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise BadCheckpoint(
            "the weights file cannot be opened",
            where=path,
            found=error.strerror,
            fix="check that the file exists and that you may read it",
        ) from error
    with stream:
        before = os.fstat(stream.fileno())
        yield stream
        after = os.fstat(stream.fileno())
        if any(getattr(before, x) != getattr(after, x) for x in ("st_size", "st_mtime_ns", "st_ctime_ns")):
            raise IdentityChanged(
                "the weights file changed while it was read",
                where=path,
                fix="wait until no process writes to it, then run the same command again",
            )


def _read_model(stream: BufferedReader, path: Path, config: VJEPA21Config, key: str | None) -> VJEPA21:
    state = checked_copy(_encoder_entry(_unpickle(stream, path), path, key), path, config)
    return assemble(config, state)


def assemble(config: VJEPA21Config, state: Mapping[str, Tensor]) -> VJEPA21:
    """Build an encoder from the tensors of `state`, without copying them and without drawing random numbers."""
    with torch.device("meta"):
        model = VJEPA21(config)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval().requires_grad_(False)


def _unpickle(stream: BufferedReader, path: Path) -> object:
    # A mapped training checkpoint takes the memory of the used tensors only. torch maps files by name only; this name
    # refers to the open file, which was hashed, even if `path` now refers to another file.
    source: Any = stream
    opened = Path(f"/dev/fd/{stream.fileno()}")
    mapped = zipfile.is_zipfile(stream) and opened.exists()
    if mapped:
        source = opened
    stream.seek(0)
    try:
        with warnings.catch_warnings(action="ignore"):  # about unusual pickles, which are refused anyway
            return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)
    except MemoryError:
        raise
    except Exception as error:  # torch raises errors of many types for damaged files
        unsafe = re.search(r"GLOBAL ([\w.]+)", str(error))
        if unsafe:
            raise BadCheckpoint(
                "the weights file contains more than tensors; it was refused, and no code in it was run",
                where=path,
                expected="tensors and plain containers",
                found=unsafe[1],
                fix="download the file from its publisher; do not unpickle this one by other means",
            ) from None
        raise BadCheckpoint(
            "the file is damaged or not a checkpoint",
            where=path,
            expected="a complete file that torch.save wrote",
            found=f"{os.fstat(stream.fileno()).st_size} bytes that torch cannot read ({type(error).__name__})",
            fix="delete it, then fetch it again",
        ) from None


def _encoder_entry(content: object, path: Path, key: str | None) -> Mapping[object, object]:
    entries = content if isinstance(content, Mapping) else {}
    candidates = [name for name in ENCODER_KEYS if name in entries] if key is None else [key]
    if len(candidates) != 1 or not isinstance(entries.get(candidates[0]), Mapping):
        raise BadCheckpoint(
            "cannot tell which entry of the file is the encoder",
            where=path,
            expected=f"a state dictionary under {key or 'exactly one of ' + ', '.join(ENCODER_KEYS)}",
            found=f"entries {_some(map(repr, entries))}" if entries else type(content).__name__,
            fix="set `key` in the model's YAML file to the entry with the encoder",
        )
    entry: Mapping[object, object] = entries[candidates[0]]
    return entry


_OTHER_ARCHITECTURE = "use the checkpoint that belongs to this model, or correct the architecture in its YAML file"


def checked_copy(entry: Mapping[Any, object], path: Path, config: VJEPA21Config) -> dict[str, Tensor]:
    """Check an entry tensor by tensor, and copy the tensors out of the file, which may be mapped."""
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in VJEPA21(config).state_dict().items()}
    found: dict[str, object] = {}
    for full_name, value in entry.items():
        name = re.sub(r"^((module|backbone)\.)+", "", str(full_name))
        if name in found:
            raise BadCheckpoint(
                "duplicate tensor in the checkpoint",
                where=path,
                found=f"{name} with two prefixes",
                fix="use the checkpoint of the publisher",
            )
        found[name] = value
    if found.keys() != expected.keys():
        raise BadCheckpoint(
            "the checkpoint does not have the tensors of this architecture",
            where=path,
            expected=f"{len(expected)} tensors; missing: {_some(n for n in expected if n not in found)}",
            found=f"{len(found)} tensors; unexpected: {_some(n for n in found if n not in expected)}",
            fix=_OTHER_ARCHITECTURE,
        )
    state: dict[str, Tensor] = {}
    for name, shape in expected.items():
        value = found[name]
        if not isinstance(value, Tensor) or value.shape != shape:
            shown = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise BadCheckpoint(
                f"{name} does not fit the architecture",
                where=path,
                expected=tuple(shape),
                found=shown,
                fix=_OTHER_ARCHITECTURE,
            )
        state[name] = _plain(value, name, path)
    return state


def _plain(tensor: Tensor, name: str, path: Path) -> Float[Tensor, "*shape"]:
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.dtype not in (torch.float32, torch.float16, torch.bfloat16):
        found = f"{tensor.dtype}, {tensor.layout}, on {tensor.device.type}"
        # Conversion of these formats to float32 is exact.
        expected = "float32, float16 or bfloat16, dense"
        raise BadCheckpoint(
            f"{name} has an unexpected format",
            where=path,
            expected=expected,
            found=found,
            fix="save the tensors in one of these formats",
        )
    copy = tensor.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
    if not copy.isfinite().all():
        raise BadCheckpoint(
            f"{name} contains NaN or infinity", where=path, expected="finite weights", fix="use another checkpoint"
        )
    return copy


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    more = f" and {len(listed) - 5} more" if len(listed) > 5 else ""
    return (", ".join(listed[:5]) or "none") + more
