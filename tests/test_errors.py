"""The tree of errors: messages, exit codes, and the way through a worker process."""

from __future__ import annotations

import pickle
from collections.abc import Iterator

import pytest

from vjepa_stress import errors
from vjepa_stress.errors import BadInput, MachineFailure, NotEvaluable, StressError, Tampered


def below(kind: type[StressError]) -> Iterator[type[StressError]]:
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from below(child)


KINDS = sorted(set(below(StressError)), key=lambda kind: kind.__name__)


def test_a_message_has_one_line_for_each_field_given() -> None:
    full = StressError("it broke", where="here", expected=1, found=0, fix="mend it")
    lines = str(full).splitlines()
    assert lines[:4] == ["it broke", "  where: here", "  expected: 1", "  found: 0"]
    assert [line.partition(": ")[2] for line in lines[4:]] == ["mend it"]
    assert str(StressError("it broke")) == "it broke"
    assert str(StressError("it broke", found="", expected=0)) == "it broke\n  expected: 0\n  found: "


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling(kind: type[StressError]) -> None:
    error = kind("it broke", where="here", expected=1, found=0, fix="mend it")
    back = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(back) is kind
    assert str(back) == str(error)
    assert (back.what, back.where, back.expected, back.found, back.fix) == ("it broke", "here", 1, 0, "mend it")


def test_the_branch_decides_the_exit_code() -> None:
    codes: dict[type[StressError], int] = {BadInput: 2, Tampered: 3, MachineFailure: 4, NotEvaluable: 11}
    assert set(StressError.__subclasses__()) & set(KINDS) == set(codes)
    for branch, code in codes.items():
        assert {kind.exit_code for kind in (branch, *below(branch))} == {code}
    assert len(KINDS) > 20


def test_every_error_says_in_its_docstring_when_it_is_raised() -> None:
    assert not [kind.__name__ for kind in KINDS if not (kind.__dict__.get("__doc__") or "").strip()]
