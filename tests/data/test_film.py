"""An opened video: times, display order, and decoding from the nearest key frame."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

import av
import pytest

from tests.data.films import KINDS, film, level, sound
from vjepa_stress.data.film import Film, opened, steps_between
from vjepa_stress.errors import BadVideo

KEYED = {"x264-params": "keyint=10:min-keyint=10:scenecut=0"}


def grey(video: Film, wanted: set[int]) -> dict[int, int]:
    """Brightness of the centre of each frame collected."""
    found = {}
    for number, frame in video.collect(wanted).items():
        image = frame.to_ndarray(format="rgb24")
        found[number] = round(float(image[image.shape[0] // 2, image.shape[1] // 2].mean()))
    return found


@pytest.mark.parametrize(("container", "codec"), KINDS)
def test_frames_are_known_by_their_display_order(container: str, codec: str) -> None:
    with opened(film(container, codec, frames=12), "film") as video:
        assert len(video.pts) == len(video.packets) == 12
        assert list(video.pts) == sorted(set(video.pts))
        assert video.timed == (container != "avi")
        found = grey(video, {0, 3, 11})
    assert set(found) == {0, 3, 11}
    assert all(abs(found[number] - level(number)) <= 2 for number in found)


@pytest.mark.parametrize("container", ["mp4", "mov", "matroska"])
def test_times_are_those_of_the_encoder(container: str) -> None:
    with opened(film(container, frames=8), "film") as video:
        assert video.rate == 25
        seconds = [(pts - video.pts[0]) * video.time_base for pts in video.pts]
        assert seconds == pytest.approx([Fraction(number, 25) for number in range(8)])
    with opened(film(container, frames=4, times=[0, 40, 100, 101]), "film") as video:
        assert [step * video.time_base * 1000 for step in steps_between(video.pts)] == [40, 60, 1]


def test_decoding_begins_at_the_nearest_key_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[int] = []
    decoded = Film.decoded
    with opened(film(frames=40, options=KEYED), "film") as video:
        keys = [number for number, packet in enumerate(video.packets) if packet.is_keyframe]
        assert keys == [0, 10, 20, 30]

        def watched(self: Film, start: int) -> Iterator[av.VideoFrame]:
            starts.append(start)
            return decoded(self, start)

        monkeypatch.setattr(Film, "decoded", watched)
        for wanted, start in (({35, 39}, 30), ({9}, 0), ({20}, 20), ({12, 31}, 10)):
            assert set(grey(video, wanted)) == wanted
            assert starts.pop() == start
            assert not starts


def test_frames_may_be_collected_in_any_order_and_again() -> None:
    with opened(film(frames=30, options=KEYED), "film") as video:
        late, early = grey(video, {29}), grey(video, {1})
        assert grey(video, {1, 29}) == late | early


def test_asking_for_more_than_there_is() -> None:
    with opened(film(frames=4), "walk.mp4") as video, pytest.raises(BadVideo) as error:
        video.collect({2, 9})
    assert error.value.where == "walk.mp4"
    assert error.value.found == "1 frames"


@pytest.mark.parametrize("data", [b"", b"a text", sound(), film(frames=12)[:-30]], ids=["", "text", "sound", "cut"])
def test_what_cannot_be_opened_is_named(data: bytes) -> None:
    with pytest.raises(BadVideo) as error, opened(data, "walk.mp4"):
        pytest.fail("it was opened")
    assert error.value.where == "walk.mp4"


def test_steps_between_neighbours() -> None:
    assert steps_between([0, 3, 4, 10]) == [3, 1, 6]
    assert steps_between([7]) == steps_between([]) == []
