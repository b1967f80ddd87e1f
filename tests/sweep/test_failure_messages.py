"""Messages of failed cells are kept, whatever characters they quote."""

from __future__ import annotations

import pytest

from vjepa_stress.digest import canonical_json, parse_json
from vjepa_stress.errors import BadVideo
from vjepa_stress.sweep.worker import _message


@pytest.mark.parametrize("text", ["cafe\u0301.mp4", "\x1b[2Krefuted", "\u202egnp.mp4", "a\ud800b", "plain"])
@pytest.mark.parametrize("kind", [ValueError, BadVideo])
def test_a_message_survives_a_document(kind: type[Exception], text: str) -> None:
    message = _message(kind(text))
    assert parse_json(canonical_json({"message": message})) == {"message": message}
