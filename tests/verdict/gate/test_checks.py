"""Every check of the gate: it objects to what it is there for, and to nothing else, with the errors it declares."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.design import toy
from tests.evidence.attack import append_again, keep_leaves, rewrite
from vjepa_stress import ledger
from vjepa_stress.digest import sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import (
    CellsIncomplete,
    CodeChanged,
    DuplicateIdentifier,
    FlaggedValues,
    IdentityChanged,
    LedgerTampered,
    ManifestTampered,
    NoSuccessor,
    NotEvaluable,
    ResultTampered,
    RowsMissing,
    RunBeforeRegistration,
    ShardTampered,
    StressError,
)
from vjepa_stress.evidence.audit import audit
from vjepa_stress.ledger import Completed, Launched, Viewed
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.prereg.lineage import Edition
from vjepa_stress.records import Attempts, Row, content_digest, manifests_root, read_cell, shard_bytes
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict import gate as gate_module
from vjepa_stress.verdict.evaluate import evaluate
from vjepa_stress.verdict.gate import CHECKS, Check, gate
from vjepa_stress.verdict.gate.state import GateState

OTHER = sha256(b"other")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StudyRoot:
    """A study of the toy design, registered and run."""
    root = toy.root(tmp_path_factory.mktemp("checks") / "root")
    with toy.only_toys():
        toy.run(root, toy.document())
    return root


@pytest.fixture
def attacked(finished: StudyRoot, tmp_path: Path) -> Iterator[StudyRoot]:
    """A copy of it, to be attacked."""
    shutil.copytree(finished.path, tmp_path / "root")
    with toy.only_toys():
        yield StudyRoot(tmp_path / "root")


class Paired(toy.ToyDesign):
    """Two questions of each source."""

    def count_sources(self, stratum: str) -> int:
        """Half as many as questions."""
        return self.count_units(stratum) // 2

    def unit_sources(self, data: bytes) -> Mapping[str, str]:
        """Each pair of questions has a source."""
        return {name: f"s{n // 2}" for n, name in enumerate(self.unit_keys(data))}


class Claimed(Paired):
    """It registers more sources than there are."""

    def count_sources(self, stratum: str) -> int:
        """As many as questions."""
        return self.count_units(stratum)


def test_sources_are_those_of_the_registered_list(tmp_path: Path) -> None:
    root = toy.root(tmp_path / "root")
    with toy.only_toys(Paired):
        toy.run(root, toy.document())
        evidence = gate(root, "toy")
        assert evidence.table.sources == tuple(f"s{n // 2}" for n in range(len(toy.QUESTIONS)))
        (verdict,) = evaluate(evidence).hypotheses
        assert verdict.estimates["share"].estimate.n == len(toy.QUESTIONS) // 2


def test_another_number_of_sources_than_registered_is_refused(tmp_path: Path) -> None:
    root = toy.root(tmp_path / "root")
    with toy.only_toys(Claimed):
        toy.run(root, toy.document())
        with pytest.raises(ManifestTampered, match="number of sources") as error:
            gate(root, "toy")
        assert (error.value.expected, error.value.found) == (30, 15)


def state(root: StudyRoot) -> GateState:
    """What the checks are given."""
    view = ledger.read(root)
    registration = freeze.load(root, "toy", view)
    attempts = Attempts.of(registration)
    return GateState(root, view, registration, attempts, frozenset(attempts.former))


def folder(root: StudyRoot) -> Path:
    return root.outputs("toy", freeze.load(root, "toy").root_digest)


def cells(root: StudyRoot) -> list[Path]:
    return sorted((folder(root) / "attempts" / "1" / "cells").iterdir())


# Attacks on files, after the ledger was read


def add_outputs(root: StudyRoot) -> None:
    (root.path / "outputs" / "toy" / "another").mkdir()


def lose_a_cell(root: StudyRoot) -> None:
    shutil.rmtree(cells(root)[0])


def add_a_cell(root: StudyRoot) -> None:
    shutil.copytree(cells(root)[0], cells(root)[0].with_name("more"))


def edit_a_shard(root: StudyRoot) -> None:
    (cells(root)[0] / "shard.parquet").write_bytes(b"PAR1")


def swap_cells(root: StudyRoot) -> None:
    one, other = cells(root)[:2]
    one.rename(one.with_name("waiting"))
    other.rename(one)
    one.with_name("waiting").rename(other)


def edit_a_manifest(root: StudyRoot) -> None:
    rewrite(cells(root)[0] / "manifest.json", {"finished": "2099-01-01T00:00:00Z"})


def lose_the_units(root: StudyRoot) -> None:
    root.clips("toy", "exam", sha256(toy.LISTED)).unlink()


def leave_a_verdict(root: StudyRoot) -> None:
    write_durably(folder(root) / "verdict.json", b"{}")


# Attacks by somebody who can rewrite the ledger


def completed_anew(root: StudyRoot) -> None:
    """The completion, with the root that the manifests have now."""
    keep_leaves(root, 2)
    stored = [read_cell(path) for path in cells(root)]
    digest = freeze.load(root, "toy").digest
    ledger.append(
        root, Completed, study="toy", document=digest, attempt=1, root=manifests_root(stored), cells=len(stored)
    )


def forge_manifest(**change: object) -> Callable[[GateState], GateState]:
    """A manifest changed, and the completion with it."""

    def attack(before: GateState) -> GateState:
        rewrite(cells(before.root)[0] / "manifest.json", change)
        completed_anew(before.root)
        return state(before.root)

    return attack


def forge_rows(
    change: Callable[[list[Row]], list[Row]], schema: Callable[[pa.Schema], pa.Schema] = lambda schema: schema
) -> Callable[[GateState], GateState]:
    """A shard changed, and with it every digest in its manifest and the completion."""

    def attack(before: GateState) -> GateState:
        place = cells(before.root)[0]
        table = read_cell(place).table
        rows = change(table.to_pylist())
        data = shard_bytes(rows, schema(table.schema))
        (place / "shard.parquet").write_bytes(data)
        digests = {"shard_digest": sha256(data), "content_digest": content_digest(rows), "rows": len(rows)}
        return forge_manifest(**digests)(before)

    return attack


def launch_before_registration(before: GateState) -> GateState:
    root, leaves = before.root, before.ledger.leaves
    root.ledger.unlink()
    root.checkpoint.unlink()
    launched = append_again(root, leaves[1])
    append_again(root, leaves[0])
    for place in cells(root):
        rewrite(place / "manifest.json", {"ledger_checkpoint": {"size": launched.size, "root": launched.root}})
    completed_anew(root)
    return state(root)


def complete_nothing(before: GateState) -> GateState:
    keep_leaves(before.root, 2)
    return state(before.root)


def launch_with_other_code(before: GateState) -> GateState:
    append_again(before.root, before.ledger.leaves[1], code=OTHER)
    return state(before.root)


def name_no_launch(before: GateState) -> GateState:
    first = before.ledger.checkpoint(1)
    return forge_manifest(ledger_checkpoint={"size": first.size, "root": first.root})(before)


def look(root: StudyRoot, data: bytes) -> None:
    digest = freeze.load(root, "toy").digest
    files = {"verdict.json": sha256(data)}
    ledger.append(root, Viewed, study="toy", document=digest, look="verdict", files=files, exploratory=False)


# Documents that no registration lets through


def with_documents(
    change: Callable[[Preregistration], list[Preregistration]],
) -> Callable[[GateState], GateState]:
    def attack(before: GateState) -> GateState:
        (edition,) = before.registration.lineage
        lineage = [Edition(document, edition.digest, edition.leaf) for document in change(edition.document)]
        registration = Registration(tuple(lineage), before.ledger)
        return dataclasses.replace(before, registration=registration)

    return attack


def twice(document: Preregistration) -> list[Preregistration]:
    return [document.model_copy(update={"hypotheses": document.hypotheses * 2})]


def another_claim(document: Preregistration) -> list[Preregistration]:
    changed = document.hypotheses[0].model_copy(update={"claim": "Another."})
    return [document, document.model_copy(update={"hypotheses": (changed,)})]


def dropped(document: Preregistration) -> list[Preregistration]:
    renamed = document.hypotheses[0].model_copy(update={"id": "H2"})
    return [document, document.model_copy(update={"hypotheses": (renamed,)})]


def on_files(change: Callable[[StudyRoot], None]) -> Callable[[GateState], GateState]:
    def attack(before: GateState) -> GateState:
        change(before.root)
        return before

    return attack


def extra(rows: list[Row]) -> list[Row]:
    return [row | {"more": 1} for row in rows]


def first(**change: Any) -> Callable[[list[Row]], list[Row]]:
    return lambda rows: [rows[0] | change, *rows[1:]]


ATTACKS: list[tuple[str, type[StressError], Callable[[GateState], GateState]]] = [
    ("outputs", LedgerTampered, on_files(add_outputs)),
    ("identifiers", DuplicateIdentifier, with_documents(twice)),
    ("identifiers", DuplicateIdentifier, with_documents(another_claim)),
    ("identifiers", NoSuccessor, with_documents(dropped)),
    ("order", RunBeforeRegistration, launch_before_registration),
    ("cells", CellsIncomplete, on_files(lose_a_cell)),
    ("cells", CellsIncomplete, on_files(add_a_cell)),
    ("cells", CellsIncomplete, complete_nothing),
    ("cells", ShardTampered, on_files(edit_a_shard)),
    ("cells", ManifestTampered, on_files(swap_cells)),
    ("cells", ManifestTampered, on_files(edit_a_manifest)),
    ("manifests", LedgerTampered, forge_manifest(ledger_checkpoint={"size": 2, "root": OTHER})),
    ("manifests", ManifestTampered, name_no_launch),
    ("manifests", ManifestTampered, forge_manifest(config_digest=OTHER)),
    ("manifests", ManifestTampered, forge_manifest(prereg_digest=OTHER)),
    ("manifests", ManifestTampered, forge_manifest(attempt=2)),
    ("manifests", ManifestTampered, forge_manifest(settings={"decoding": "greedy"})),
    ("manifests", ManifestTampered, forge_manifest(identities={"questions": OTHER})),
    ("manifests", ManifestTampered, forge_manifest(identities={})),
    ("manifests", ManifestTampered, forge_manifest(units=toy.QUESTIONS[1:])),
    ("manifests", IdentityChanged, on_files(lose_the_units)),
    ("code", CodeChanged, forge_manifest(code_digest=OTHER)),
    ("code", CodeChanged, launch_with_other_code),
    ("columns", ShardTampered, forge_rows(extra, lambda schema: schema.append(pa.field("more", pa.int64())))),
    ("rows", RowsMissing, forge_rows(lambda rows: rows[1:])),
    ("rows", RowsMissing, forge_rows(lambda rows: [*rows, rows[0]])),
    ("rows", RowsMissing, forge_rows(first(question="q99"))),
    ("values", FlaggedValues, forge_rows(first(non_finite=True))),
    ("values", FlaggedValues, forge_rows(first(accuracy=1.5))),
    ("results", ResultTampered, on_files(leave_a_verdict)),
]


def test_every_check_says_what_it_is() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for check in CHECKS:
        assert check.name
        assert check.reads
        assert check.errors
        assert all(issubclass(error, StressError) for error in check.errors)


def test_every_declared_error_has_an_attack_that_reaches_it() -> None:
    reached = {check.name: {error for name, error, _ in ATTACKS if name == check.name} for check in CHECKS}
    assert {check.name: set(check.errors) for check in CHECKS} == reached


def test_no_check_objects_to_an_honest_study(attacked: StudyRoot) -> None:
    passed = state(attacked)
    for check in CHECKS:
        check.run(passed)
    assert passed.objections == []
    assert set(passed.stored) == set(passed.design.cells)
    assert set(passed.launch_of) == {path.name for path in cells(attacked)}
    (launched,) = passed.ledger.of("toy", Launched)
    assert all(leaf == launched for leaf in passed.launch_of.values())


@pytest.mark.parametrize(
    ("name", "error", "attack"),
    ATTACKS,
    ids=[f"{n}-{name}-{error.__name__}" for n, (name, error, _) in enumerate(ATTACKS)],
)
def test_the_check_objects_and_those_before_it_do_not(
    attacked: StudyRoot, name: str, error: type[StressError], attack: Callable[[GateState], GateState]
) -> None:
    checked = attack(state(attacked))
    position = [check.name for check in CHECKS].index(name)
    for check in CHECKS[:position]:
        check.run(checked)
    assert checked.objections == []
    if issubclass(error, NotEvaluable):
        CHECKS[position].run(checked)
        assert {type(objection) for objection in checked.objections} == {error}
    else:
        with pytest.raises(error) as raised:
            CHECKS[position].run(checked)
        assert type(raised.value) is error
        assert checked.objections == []


@pytest.mark.parametrize(
    ("error", "attack"),
    # `with_documents` has no files: such a document cannot be loaded, or registered, in the first place.
    [(error, attack) for name, error, attack in ATTACKS if name != "identifiers"],
)
def test_the_gate_refuses_each_attack_with_its_error(
    attacked: StudyRoot, error: type[StressError], attack: Callable[[GateState], GateState]
) -> None:
    attack(state(attacked))
    with pytest.raises(error) as raised:
        gate(attacked, "toy")
    assert type(raised.value) is error
    if not issubclass(error, NotEvaluable):
        with pytest.raises(error):
            gate(attacked, "toy", exploratory=True)


def test_an_exploratory_passage_counts_what_each_check_objects_to(attacked: StudyRoot) -> None:
    forge_rows(first(non_finite=True))(state(attacked))
    evidence = gate(attacked, "toy", exploratory=True)
    assert {one.name: one.objections for one in evidence.checks if one.objections} == {"values": 1}
    assert [type(one) for one in evidence.objections] == [FlaggedValues]


def test_tampering_comes_before_what_is_only_missing(attacked: StudyRoot) -> None:
    forge_rows(lambda rows: rows[1:])(state(attacked))
    with pytest.raises(RowsMissing):
        gate(attacked, "toy")
    leave_a_verdict(attacked)
    with pytest.raises(ResultTampered):
        gate(attacked, "toy")


def test_a_verdict_that_was_logged_passes_and_an_edited_one_does_not(attacked: StudyRoot) -> None:
    look(attacked, b"{}")
    gate(attacked, "toy")  # a look that was cut off before its file
    write_durably(folder(attacked) / "verdict.json", b"{}")
    gate(attacked, "toy")
    write_durably(folder(attacked) / "verdict.json", b"[]")
    with pytest.raises(ResultTampered) as error:
        gate(attacked, "toy")
    assert (error.value.expected, error.value.found) == (sha256(b"{}"), sha256(b"[]"))


def test_the_gate_runs_the_checks_in_their_order(attacked: StudyRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def noting(check: Check) -> Check:
        def run(checked: GateState) -> None:
            ran.append(check.name)
            check.run(checked)

        return dataclasses.replace(check, run=run)

    monkeypatch.setattr(gate_module, "CHECKS", tuple(map(noting, CHECKS)))
    gate(attacked, "toy")
    assert ran == [check.name for check in CHECKS]


def test_the_audit_reports_every_check(attacked: StudyRoot) -> None:
    expected = [("ledger", 0), ("documents", 0), *((check.name, 0) for check in CHECKS)]
    assert [(one.name, one.objections) for one in audit(attacked, "toy").checks] == expected
    verdict = evaluate(gate(attacked, "toy"))
    look(attacked, verdict.to_bytes())
    write_durably(verdict.file(attacked), verdict.to_bytes())
    found = audit(attacked, "toy").checks
    assert [(one.name, one.objections) for one in found] == [*expected, ("verdict", 0), ("verdict.json", 0)]
    assert {one.name: one.reads for one in found}.items() >= {check.name: check.reads for check in CHECKS}.items()
