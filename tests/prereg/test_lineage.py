"""What may follow a document, and what a change of it is called."""

from __future__ import annotations

import pytest

from vjepa_stress.digest import sha256
from vjepa_stress.errors import DuplicateIdentifier, NoSuccessor
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import Hypothesis, Preregistration
from vjepa_stress.prereg.lineage import (
    Change,
    changed_paths,
    changes,
    check_claims,
    check_follows,
    find,
    is_withdrawal,
    next_version,
)
from vjepa_stress.report import words
from vjepa_stress.study_root import StudyRoot

PARENT = sha256(b"the parent's bytes")


@pytest.fixture
def first(finished: StudyRoot) -> Preregistration:
    """The small study as it was registered: C1, H1, H2."""
    return freeze.load(finished, "small").document


def changed(document: Preregistration, name: str | None = None, **fields: object) -> Preregistration:
    """A document with other fields, or with other fields of one hypothesis."""
    if name is None:
        return document.model_copy(update=fields)
    hypotheses = [one.model_copy(update=fields) if one.id == name else one for one in document.hypotheses]
    return document.model_copy(update={"hypotheses": tuple(hypotheses)})


def without(document: Preregistration, name: str) -> Preregistration:
    return changed(document, hypotheses=tuple(one for one in document.hypotheses if one.id != name))


def hypothesis(document: Preregistration, name: str) -> Hypothesis:
    found = find(document, name)
    assert found is not None
    return found


@pytest.mark.parametrize(("version", "after"), [("v1", "v2"), ("v9", "v10"), ("v99", "v100")])
def test_versions_are_counted(version: str, after: str) -> None:
    assert next_version(version) == after


def test_the_next_version_of_the_parent_follows_and_nothing_else(first: Preregistration) -> None:
    second = changed(first, version="v2", parent=PARENT)
    check_follows(first, PARENT, second)
    for field, value in (("study", "other"), ("parent", sha256(b"another")), ("parent", None), ("version", "v3")):
        with pytest.raises(NoSuccessor) as error:
            check_follows(first, PARENT, changed(second, **{field: value}))
        assert error.value.where == field
        assert error.value.found == value


def test_claims_are_kept(first: Preregistration) -> None:
    check_claims([first], first)
    check_claims([first], changed(first, "H1", status="withdrawn"))
    check_claims([without(first, "H1")], first)  # a new hypothesis may come
    with pytest.raises(NoSuccessor) as lost:
        check_claims([first], without(first, "H1"))
    assert "H1" in str(lost.value.expected)
    with pytest.raises(DuplicateIdentifier) as other:
        check_claims([first], changed(first, "H1", claim="Another claim."))
    assert other.value.found == "Another claim."
    # The document before the last one counts as well.
    with pytest.raises(NoSuccessor):
        check_claims([first, without(first, "H1")], without(first, "H1"))


def test_what_was_withdrawn_stays_withdrawn_and_as_it_was(first: Preregistration) -> None:
    withdrawn = changed(first, "H1", status="withdrawn")
    check_claims([first, withdrawn], withdrawn)
    with pytest.raises(NoSuccessor):
        check_claims([first, withdrawn], first)
    with pytest.raises(NoSuccessor):
        check_claims([first, withdrawn], changed(withdrawn, "H1", rule=hypothesis(first, "C1").rule))
    part = changed(first, "H2", withdrawn=("ratio",))
    check_claims([first, part], part)
    check_claims([first, part], changed(part, "H2", status="withdrawn"))
    with pytest.raises(NoSuccessor) as error:
        check_claims([first, part], first)
    assert "H2.ratio" in str(error.value.expected)


def test_an_estimand_that_was_withdrawn_does_not_come_back_under_another_name(first: Preregistration) -> None:
    part = changed(first, "H2", withdrawn=("ratio",))
    estimands = hypothesis(first, "H2").estimands
    again = changed(part, "H2", estimands={**estimands, "again": estimands["ratio"]})
    with pytest.raises(NoSuccessor) as error:
        check_claims([first, part], again)
    assert "H2.again" in str(error.value.where)


def test_a_withdrawal_does_nothing_else(first: Preregistration) -> None:
    whole, part = changed(first, "H1", status="withdrawn"), changed(first, "H2", withdrawn=("ratio",))
    for document in (whole, part):
        assert is_withdrawal(first, document)
        # Fields that differ in every amendment are not compared.
        assert is_withdrawal(first, changed(document, version="v2", parent=PARENT, data_status="after-analysis"))
        assert not is_withdrawal(first, changed(document, title="Another title"))
        assert not is_withdrawal(first, changed(document, "H1", prediction="refuted"))
    assert not is_withdrawal(first, first)


def test_changes_name_what_differs_before_and_after(first: Preregistration) -> None:
    assert changes(first, first) == ()
    assert changes(first, changed(first, version="v2", parent=PARENT)) == ()
    rule = hypothesis(first, "H1").rule.model_copy(update={"confirm_at": 0.75})
    for old, new, change, said in (
        (first, changed(first, "H1", status="withdrawn"), Change(path="H1", kind="withdrawn"), "H1 withdrawn"),
        (
            first,
            changed(first, "H2", withdrawn=("ratio",)),
            Change(path="H2.ratio", kind="withdrawn"),
            "H2.ratio withdrawn",
        ),
        (without(first, "H1"), first, Change(path="H1", kind="new"), "H1 is new"),
        (
            first,
            changed(first, title="New"),
            Change(path="title", kind="changed", before=first.title, after="New"),
            f'title: "{first.title}" → "New"',
        ),
        (
            first,
            changed(first, "H1", rule=rule),
            Change(path="H1.rule.confirm_at", kind="changed", before=0.9, after=0.75),
            "H1.rule.confirm_at: 0.9 → 0.75",
        ),
    ):
        assert changes(old, new) == (change,)
        assert changed_paths(old, new) == (change.path,)
        assert words.change(change) == said


def test_added_and_removed_cells_are_counted(first: Preregistration) -> None:
    fewer = changed(first, design=first.design.model_copy(update={"cells": first.design.cells[7:]}))
    (removed,), (added,) = changes(first, fewer), changes(fewer, first)
    names = [str(cell) for cell in first.design.cells[:7]]
    assert removed == Change(path="design.cells", kind="removed", before=names)
    assert added == Change(path="design.cells", kind="added", after=names)
    assert words.change(removed) == f"7 cells removed: {', '.join(names[:5])}, …"
    assert words.change(added) == f"7 cells added: {', '.join(names[:5])}, …"


def test_a_path_is_named_once(first: Preregistration) -> None:
    one, other = (
        changed(first, design=first.design.model_copy(update={"cells": cells}))
        for cells in (first.design.cells[1:], first.design.cells[:-1])
    )
    assert [change.kind for change in changes(one, other)] == ["added", "removed"]
    assert changed_paths(one, other) == ("design.cells",)
