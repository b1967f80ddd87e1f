"""Planning a launch: which attempt, which cells are there already, and whether the blocks are the registered ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.evidence.attack import keep_leaves, rewrite, without_results
from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.design import Cell
from vjepa_stress.design.video import VideoDesign, as_video
from vjepa_stress.digest import Digest, digest_of, sha256
from vjepa_stress.errors import BadInput, CodeChanged, IdentityChanged, ManifestTampered, ShardTampered
from vjepa_stress.ledger import Completed, Launched
from vjepa_stress.prereg import freeze
from vjepa_stress.provenance import CodeState
from vjepa_stress.records import Attempts, cell_folders
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import Blocks
from vjepa_stress.sweep.plan import check_code, check_specs, choose_attempt, kinds_of, stored_cells

V1, V2 = sha256(b"v1"), sha256(b"v2")
SMALL = {"a": Cell({"x": 1.0})}
LARGE = {**SMALL, "b": Cell({"x": 2.0})}
CODE, OTHER = sha256(b"code"), sha256(b"other code")


PLACE = {"seq": 0, "at": "2026-01-01T00:00:00Z", "study": "small", "prev_root": V1}


def launch(attempt: int, code: Digest = CODE) -> Launched:
    said = {"cells": ("a",), "code": code, "dirty": False, "commit": None, "identities": {}, "specs": {}}
    return Launched.model_validate({**PLACE, **said, "document": V1, "attempt": attempt, "deviation": None})


def completion(attempt: int, document: Digest = V1) -> Completed:
    return Completed.model_validate({**PLACE, "document": document, "attempt": attempt, "root": V1, "cells": 1})


def attempts(
    launches: Sequence[int] = (), completed: Sequence[int] = (), *, grown: bool = False, again: Sequence[int] = ()
) -> Attempts:
    """What a ledger with these launches and completions says.

    Args:
        grown: an amendment added a cell after these completions.
        again: attempts completed since.
    """
    names = {V1: SMALL, V2: LARGE} if grown else {V1: SMALL}
    done = [completion(n) for n in completed] + [completion(n, V2) for n in again]
    return Attempts(names, LARGE if grown else SMALL, tuple(map(launch, launches)), tuple(done))


@pytest.mark.parametrize(
    ("ledger_says", "expected"),
    [
        (attempts(), 1),
        (attempts([1]), 1),
        (attempts([1, 1]), 1),
        (attempts([1], [1]), 1),
        (attempts([1, 2], [1]), 2),  # the second was begun and never completed
        (attempts([1, 2], [1, 2]), 1),  # the first complete one counts
        (attempts([1], [1], grown=True), 1),  # the added cell is missing from the one that counts
        (attempts([1, 2], [1, 2], grown=True), 1),
        (attempts([1, 2], [2]), 2),  # the first was never completed, so that the second counts
        (attempts([1], [1], grown=True, again=[1]), 1),
    ],
)
def test_the_attempt_to_work_on(ledger_says: Attempts, expected: int) -> None:
    assert choose_attempt(ledger_says, again=False) == expected


@pytest.mark.parametrize(
    ("ledger_says", "expected"),
    [
        (attempts(), 1),
        (attempts([1], [1]), 2),
        (attempts([1, 2], [1, 2]), 3),
        (attempts([1], [1], grown=True, again=[1]), 2),
        (attempts([1]), None),
        (attempts([1, 2], [1]), None),
        (attempts([1], [1], grown=True), None),
    ],
)
def test_another_attempt_only_once_the_one_under_way_is_complete(ledger_says: Attempts, expected: int | None) -> None:
    if expected is not None:
        assert choose_attempt(ledger_says, again=True) == expected
        return
    with pytest.raises(BadInput, match="is not complete"):
        choose_attempt(ledger_says, again=True)


def test_one_attempt_has_one_code_unless_a_deviation_says_why() -> None:
    mine, other = CodeState(digest=CODE, dirty=False, commit=None), CodeState(digest=OTHER, dirty=False, commit=None)
    started = attempts([1])
    check_code(started, 1, mine, None)
    check_code(started, 2, other, None)
    check_code(started, 1, other, "a defect was mended")
    with pytest.raises(CodeChanged, match="attempt 1") as error:
        check_code(started, 1, other, None)
    assert (error.value.expected, error.value.found) == (CODE, OTHER)
    mixed = Attempts({V1: SMALL}, SMALL, (launch(1), launch(1, OTHER)), ())
    with pytest.raises(CodeChanged):
        check_code(mixed, 1, mine, None)


# The blocks as configured now, against those registered


@pytest.fixture
def design(finished: StudyRoot) -> VideoDesign:
    return as_video(freeze.load(finished, "small").document.design)


def test_blocks_as_registered_pass(design: VideoDesign) -> None:
    check_specs(design, Blocks(study.CONF))


@pytest.mark.parametrize(
    ("field", "name", "named"),
    [
        ("datasets", "small", "data small is not configured as registered"),
        ("models", "tiny", "model tiny is not"),
        ("perturbations", "gaussian_noise", "perturbation gaussian_noise is not"),
        ("metrics", "M2", "metric M2 is not"),
    ],
)
@pytest.mark.parametrize("change", [{"revision": 99}, {"another_field": 0.25}])
def test_a_block_that_differs_is_named_with_what_differs(
    design: VideoDesign, field: str, name: str, named: str, change: dict[str, object]
) -> None:
    entries = getattr(design, field)
    spec = {**entries[name].spec, **change}
    other = entries[name].model_copy(update={"spec": spec, "spec_digest": digest_of(spec)})
    changed = design.model_copy(update={field: {**entries, name: other}})
    with pytest.raises(IdentityChanged, match=named) as error:
        check_specs(changed, Blocks(study.CONF))
    ((key, registered),) = change.items()
    now = entries[name].spec.get(key)
    assert (error.value.expected, error.value.found) == (f"{key}: {registered!r}", f"{key}: {now!r}")
    assert str(error.value.where).endswith(f"{name}.yaml")


def test_cells_need_the_classes_of_their_blocks_and_of_every_metric(design: VideoDesign) -> None:
    cells = [cell for cell in design.cells if (cell.model, cell.perturbation) == ("tiny", "reverse")]
    metrics = {str(entry.spec["kind"]) for entry in design.metrics.values()}
    assert {kind.partition("/")[0] for kind in kinds_of(design, cells)} == {
        "dataset", "encoder", "perturbation", "metric"
    }  # fmt: skip
    assert kinds_of(design, cells) - metrics == {
        str(entry.spec["kind"])
        for entry in (design.datasets["small"], design.models["tiny"], design.perturbations["reverse"])
    }
    assert kinds_of(design, []) == metrics


# Cells that are there already


def there(root: StudyRoot, number: int = 1) -> list[str]:
    registration = freeze.load(root, "small")
    folder = root.attempt("small", registration.root_digest, number)
    return list(stored_cells(registration, Attempts.of(registration), number, folder))


def one(root: StudyRoot) -> Path:
    return next(study.cells(root).glob("*tiny-gaussian_noise-0.2*"))


def incomplete(root: StudyRoot) -> StudyRoot:
    """The same study before its completion was logged."""
    keep_leaves(root, 2)
    without_results(root)
    return root


def test_cells_of_a_complete_attempt_are_all_there(finished: StudyRoot) -> None:
    folder = study.cells(finished).parent
    assert there(finished) == [path.name for path in cell_folders(folder)]
    assert len(there(finished)) == study.CELLS
    assert there(finished, 2) == []


def test_what_an_unfinished_attempt_has_is_kept(attacked: StudyRoot) -> None:
    root = incomplete(attacked)
    shutil.rmtree(one(root))
    study.cells(root).joinpath(".tmp-cell").mkdir()
    assert len(there(root)) == study.CELLS - 1


def test_a_completed_attempt_without_one_of_its_cells_has_changed(attacked: StudyRoot) -> None:
    shutil.rmtree(one(attacked))
    with pytest.raises(ManifestTampered, match="completed attempt"):
        there(attacked)


def test_a_cell_that_belongs_elsewhere_is_no_cell_of_the_attempt(attacked: StudyRoot) -> None:
    root = incomplete(attacked)
    folder = one(root)
    saved = (folder / "manifest.json").read_bytes()
    changes: list[dict[str, object]] = [
        {"prereg_digest": V1},
        {"ledger_checkpoint": {"size": 2, "root": V1}},
        {"ledger_checkpoint": {"size": 99, "root": ledger.read(root).checkpoint().root}},
    ]
    for change in changes:
        rewrite(folder / "manifest.json", change)
        with pytest.raises(ManifestTampered) as error:
            there(root)
        assert error.value.where == folder
        (folder / "manifest.json").write_bytes(saved)
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(ManifestTampered) as misplaced:
        there(root)
    assert misplaced.value.where == folder.with_name("elsewhere")


def test_every_stored_cell_is_verified(attacked: StudyRoot) -> None:
    root = incomplete(attacked)
    (one(root) / "shard.parquet").write_bytes(b"nothing")
    with pytest.raises(ShardTampered):
        there(root)
