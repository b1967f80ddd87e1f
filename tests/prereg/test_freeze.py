"""Freezing documents: what is written and logged, and what is refused before anything is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.evidence.attack import append_again, keep_leaves
from tests.verdict import sketch
from vjepa_stress import ledger
from vjepa_stress.digest import Digest, digest_of, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import (
    AlreadyRegistered,
    BadDocument,
    BadInput,
    DocumentTampered,
    DuplicateIdentifier,
    LedgerTampered,
    NoSuccessor,
    NotRegistered,
    ResultTampered,
    StatusTooEarly,
    StressError,
)
from vjepa_stress.ledger import Amended, Launched, Registered, Viewed, Withdrawn
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import Amendment, Preregistration
from vjepa_stress.study_root import StudyRoot

WEIGHTS, OTHER = sha256(b"weights"), sha256(b"other weights")
WHERE = {"perturbation": ["noise"]}
ESTIMANDS = {
    "level": {"statistic": "mean", "metric": "M2", "where": WHERE},
    "top": {"statistic": "maximum", "metric": "M2", "where": WHERE},
}
RULE = {"kind": "all_of", "of": [sketch.threshold(name, 0.5, 0.1) for name in ESTIMANDS]}


@pytest.fixture
def root(tmp_path: Path) -> StudyRoot:
    (tmp_path / "prereg").mkdir()
    return StudyRoot(tmp_path)


def first() -> Preregistration:
    """A document whose weights and clips the first launch pins."""
    cells = sketch.cells(["davis"], ["base", "large"], ["noise"], [0.2, 1.0])
    hypotheses = [sketch.hypothesis(name, ESTIMANDS, RULE) for name in ("H1", "H2")]
    return sketch.document(sketch.design(cells, clips={"davis": 9}), hypotheses)


def following(parent: Digest, before: Preregistration | None = None, **fields: Any) -> Preregistration:
    """The next version of a document."""
    before = before or first()
    said = Amendment(changes="a", reason="missing-information", severity="b", validity="c")
    update = {"version": f"v{int(before.version[1:]) + 1}", "parent": parent, "amendment": said, **fields}
    return before.model_copy(update=update)


def of_first(document: Preregistration, **fields: Any) -> Preregistration:
    """A document with other fields of its first hypothesis."""
    one, *others = document.hypotheses
    return document.model_copy(update={"hypotheses": (one.model_copy(update=fields), *others)})


def with_weights(document: Preregistration, digest: Digest | None, spec: Digest | None = None) -> Preregistration:
    """A document that names the weights of its model `base`."""
    value = document.model_dump(mode="json", by_alias=True)
    value["design"]["models"]["base"]["weights_digest"] = digest
    if spec:
        value["design"]["models"]["base"] |= {"spec": {"x": 1}, "spec_digest": spec}
    return Preregistration.model_validate(value)


def launched(root: StudyRoot, document: Digest, weights: Mapping[str, Digest], study: str = "sketch") -> None:
    """A launch that used the data set's specification."""
    ledger.append(
        root,
        Launched,
        study=study,
        document=document,
        attempt=1,
        cells=["a-cell"],
        code=sha256(b"code"),
        dirty=False,
        commit=None,
        identities={"weights": dict(weights), "clips": {}},
        specs={"davis": sketch.BLOCK["spec_digest"]},
        deviation=None,
    )


def on_disk(root: StudyRoot) -> dict[str, bytes]:
    """Every file of the root but the lock."""
    files = (path for path in root.path.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {path.relative_to(root.path).as_posix(): path.read_bytes() for path in files}


def refuses(root: StudyRoot, error: type[StressError], text: str, document: Preregistration, *, next: bool) -> None:
    """It is refused with exactly this error, and nothing is written."""
    before = on_disk(root)
    with pytest.raises(error, match=text) as raised:
        (freeze.extend if next else freeze.register)(root, document, {})
    assert type(raised.value) is error
    assert on_disk(root) == before


def test_a_registration_is_canonical_bytes_and_a_leaf_with_their_digest(root: StudyRoot) -> None:
    digest, checkpoint = freeze.register(root, first(), {})
    assert root.document("sketch", "v1").read_bytes() == freeze.to_bytes(first())
    assert digest == sha256(freeze.to_bytes(first()))
    (leaf,) = ledger.read(root).leaves
    assert isinstance(leaf, Registered)
    assert (leaf.study, leaf.document, leaf.version) == ("sketch", digest, "v1")
    assert (leaf.data_status, leaf.hypotheses) == ("before-creation", ("H1", "H2"))
    assert checkpoint == ledger.read(root).checkpoint(1)
    loaded = freeze.load(root, "sketch")
    assert (loaded.document, loaded.digest, loaded.root_digest, loaded.leaf) == (first(), digest, digest, leaf)
    assert loaded.edition(digest) is loaded.lineage[0]
    assert loaded.edition(OTHER) is None


def test_what_register_refuses(root: StudyRoot) -> None:
    digest = sha256(b"nothing")
    refuses(root, NoSuccessor, f"v2, parent {digest}", following(digest), next=False)
    refuses(root, NoSuccessor, "v2, parent none", first().model_copy(update={"version": "v2"}), next=False)
    refuses(root, BadDocument, "control", first().model_copy(update={"title": "\x1b[2J"}), next=False)
    write_durably(root.document("sketch", "v1"), b"{}")
    refuses(root, DocumentTampered, sha256(b"{}"), first(), next=False)
    root.document("sketch", "v1").unlink()
    strange = root.outputs("sketch", digest) / "verdict.json"
    write_durably(strange, b"{}")
    refuses(root, LedgerTampered, digest.hex[:12], first(), next=False)
    strange.unlink()
    strange.parent.rmdir()
    freeze.register(root, first(), {})
    refuses(root, AlreadyRegistered, f"registered at .* as {sha256(freeze.to_bytes(first()))}", first(), next=False)
    other = first().model_copy(update={"title": "Another"})
    refuses(root, AlreadyRegistered, "vjepa-stress amend sketch FILE", other, next=False)


def test_an_interrupted_registration_can_be_repeated(root: StudyRoot) -> None:
    """The file is there, and its leaf is not."""
    write_durably(root.document("sketch", "v1"), freeze.to_bytes(first()))
    with pytest.raises(NotRegistered):
        freeze.load(root, "sketch")
    freeze.register(root, first(), {})
    assert freeze.load(root, "sketch").document == first()


def test_the_ledger_rules_out_a_status_that_is_too_early(root: StudyRoot) -> None:
    launched(root, OTHER, {}, study="earlier")
    refuses(root, StatusTooEarly, "found: before-creation; line 1", first(), next=False)
    ledger.append(
        root, Viewed, study="earlier", document=OTHER, look="verdict", files={"v": OTHER}, exploratory=False
    )
    for status in ("before-observation", "before-access", "before-analysis"):
        early = first().model_copy(update={"data_status": status})
        refuses(root, StatusTooEarly, f"found: {status}", early, next=False)
    freeze.register(root, first().model_copy(update={"data_status": "after-analysis"}), {})


def test_an_amendment_and_a_withdrawal_are_told_apart(root: StudyRoot) -> None:
    v1, _ = freeze.register(root, first(), {})
    second = following(v1, title="Another title")
    v2, _ = freeze.extend(root, second, {})
    third = following(v2, of_first(second, withdrawn=("top",)))
    v3, _ = freeze.extend(root, third, {})
    both = following(v3, of_first(third, status="withdrawn"), title="A third title")
    freeze.extend(root, both, {})
    amended, withdrawn, again = ledger.read(root).leaves[1:]
    assert isinstance(amended, Amended)
    assert isinstance(withdrawn, Withdrawn)
    assert isinstance(again, Amended)
    assert (amended.parent, amended.reason, amended.changed) == (v1, "missing-information", ("title",))
    assert (withdrawn.parent, withdrawn.changed) == (v2, ("H1.top",))
    assert (again.parent, set(again.changed)) == (v3, {"H1", "title"})
    lineage = freeze.load(root, "sketch").lineage
    assert [edition.document for edition in lineage] == [first(), second, third, both]


def test_what_extend_refuses(root: StudyRoot) -> None:
    refuses(root, NotRegistered, "sketch", following(OTHER), next=True)
    v1, _ = freeze.register(root, first(), {})
    document = following(v1, title="Another title")
    for text, error, wrong in (
        (
            f"expected: {v1}\n  found: {OTHER}",
            NoSuccessor,
            document.model_copy(update={"parent": OTHER}),
        ),
        ("where: version\n  expected: v2\n  found: v3", NoSuccessor, document.model_copy(update={"version": "v3"})),
        ("where: version\n  expected: v2\n  found: v1", NoSuccessor, document.model_copy(update={"version": "v1"})),
        ("sketches", NotRegistered, document.model_copy(update={"study": "sketches"})),
        ("expected: H1, as in v1", NoSuccessor, document.model_copy(update={"hypotheses": document.hypotheses[1:]})),
        ("found: Another claim.", DuplicateIdentifier, of_first(document, claim="Another claim.")),
        ("control", BadDocument, document.model_copy(update={"title": "\x1b[2J"})),
    ):
        refuses(root, error, text, wrong, next=True)
    write_durably(root.document("sketch", "v2"), b"{}")
    refuses(root, DocumentTampered, sha256(b"{}"), document, next=True)
    root.document("sketch", "v2").unlink()
    write_durably(root.outputs("sketch", v1) / "verdict.json", b"{}")
    refuses(root, ResultTampered, "verdict.json", document, next=True)
    (root.outputs("sketch", v1) / "verdict.json").unlink()
    launched(root, v1, {"base": WEIGHTS})
    refuses(root, StatusTooEarly, "found: before-creation; line 2", document, next=True)
    v2, _ = freeze.extend(root, document.model_copy(update={"data_status": "before-access"}), {})
    # Knowledge only grows, whatever the ledger alone would allow.
    third = following(v2, document, data_status="before-observation")
    refuses(root, StatusTooEarly, "found: before-observation; v2", third, next=True)


def test_what_a_launch_pinned_stays_pinned_while_its_specification_does(root: StudyRoot) -> None:
    v1, _ = freeze.register(root, first(), {})
    assert freeze.load(root, "sketch").pinned("weights", "base") is None
    launched(root, v1, {"base": WEIGHTS})
    launched(root, v1, {"base": OTHER, "large": OTHER})
    registration = freeze.load(root, "sketch")
    assert registration.pinned("weights", "base") == WEIGHTS  # the first launch did
    assert registration.pinned("weights", "large") == OTHER
    assert registration.pinned("clips", "davis") is None
    late = following(v1, data_status="after-analysis")
    refuses(root, NoSuccessor, f"expected: {WEIGHTS}\n  found: {OTHER}", with_weights(late, OTHER), next=True)
    freeze.check_next(registration, with_weights(late, WEIGHTS))
    freeze.check_next(registration, late)
    freeze.check_next(registration, with_weights(late, OTHER, spec=digest_of({"x": 1})))


def test_what_load_refuses(root: StudyRoot) -> None:
    with pytest.raises(BadInput):
        freeze.load(root, "../up")
    with pytest.raises(NotRegistered):
        freeze.load(root, "sketch")
    assert not on_disk(root)
    v1, _ = freeze.register(root, first(), {})
    with pytest.raises(NotRegistered, match="did you mean sketch"):
        freeze.load(root, "skech")
    freeze.extend(root, following(v1, title="Another title"), {})
    for version in ("v1", "v2"):
        path = root.document("sketch", version)
        data = path.read_bytes()
        for other in (data + b"\n", b"", None):
            path.unlink()
            if other is not None:
                path.write_bytes(other)
            with pytest.raises(DocumentTampered) as error:
                freeze.load(root, "sketch")
            assert (error.value.where, error.value.expected) == (path, sha256(data))
            path.write_bytes(data)
    assert len(freeze.load(root, "sketch").lineage) == 2


@pytest.mark.parametrize(("field", "value"), [("parent", OTHER), ("version", "v3")])
def test_leaves_that_do_not_follow_from_each_other(root: StudyRoot, field: str, value: str) -> None:
    v1, _ = freeze.register(root, first(), {})
    freeze.extend(root, following(v1, title="Another title"), {})
    leaf = ledger.read(root).leaves[1]
    expected = getattr(leaf, field)
    root.document("sketch", "v3").write_bytes(root.document("sketch", "v2").read_bytes())
    keep_leaves(root, 1)
    append_again(root, leaf, **{field: value})
    with pytest.raises(LedgerTampered, match=field) as error:
        freeze.load(root, "sketch")
    assert {error.value.expected, error.value.found} == {expected, value}
