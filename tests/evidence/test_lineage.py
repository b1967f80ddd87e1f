"""Attacks on amendments and on their order."""

import json
import random
import shutil
from collections.abc import Callable, Sequence

import pyarrow.parquet as pq
import pytest

from tests.evidence.attack import (
    append_again,
    cell,
    flipped,
    keep_leaves,
    refused,
    rewrite,
    three,
)
from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.digest import canonical_json, sha256
from vjepa_stress.errors import LedgerTampered, Tampered
from vjepa_stress.ledger import DocumentLeaf, Registered
from vjepa_stress.prereg import freeze
from vjepa_stress.records import content_digest, read_cell, shard_bytes
from vjepa_stress.study_root import StudyRoot


@pytest.fixture
def amended(attacked: StudyRoot) -> StudyRoot:
    """The finished study, amended once and then with a part withdrawn; not judged since."""
    draft = (study.HERE / "draft.yaml").read_text().replace("confirm_at: 0.9", "confirm_at: 0.8")
    for done in (study.amend(attacked, study.amended(draft)), study.withdraw(attacked, "H2.ratio")):
        assert done.code == 0, done.err
    assert [edition.document.version for edition in freeze.load(attacked, "small").lineage] == ["v1", "v2", "v3"]
    return attacked


def forged(root: StudyRoot, leaves: Sequence[DocumentLeaf]) -> None:
    """The ledger of before the amendments, continued by a forger who can write it as he likes."""
    keep_leaves(root, 5)
    for leaf in leaves:
        append_again(root, leaf)


def as_registered(leaf: DocumentLeaf) -> Registered:
    """What a leaf says, as if it was the first of its study."""
    fields = leaf.model_dump(include=set(Registered.model_fields) - {"event"})
    return Registered.model_validate(fields)


def test_a_removed_version(amended: StudyRoot) -> None:
    for version in ("v1", "v2", "v3"):
        path = amended.document("small", version)
        data = path.read_bytes()
        path.unlink()
        refused(amended)
        path.write_bytes(data)
    assert all(done.code == 0 for done in three(amended))


def test_bits_flipped_in_an_amendment(amended: StudyRoot) -> None:
    path, chance, view = amended.document("small", "v2"), random.Random(8), ledger.read(amended)
    data = path.read_bytes()
    for position in chance.sample(range(len(data)), 200):
        path.write_bytes(flipped(data, position, chance))
        with pytest.raises(Tampered, match="differs from the registered one"):
            freeze.load(amended, "small", view)
    refused(amended)
    path.write_bytes(amended.document("small", "v3").read_bytes())
    refused(amended)


@pytest.mark.parametrize(
    "forge",
    [
        lambda v2, v3: [v3],
        lambda v2, v3: [v3, v2],
        lambda v2, v3: [v2, v2, v3],
        lambda v2, v3: [v2, v3.model_copy(update={"parent": v2.parent})],
        lambda v2, v3: [v2, as_registered(v3)],
        lambda v2, v3: [as_registered(v2), v3],
    ],
    ids=["the middle left out", "swapped", "twice", "another parent", "registered again", "no parent"],
)
def test_a_forged_order_of_amendments(
    amended: StudyRoot, forge: Callable[[DocumentLeaf, DocumentLeaf], list[DocumentLeaf]]
) -> None:
    forged(amended, forge(*ledger.read(amended).of("small", DocumentLeaf)[-2:]))
    with pytest.raises(LedgerTampered, match="are not consecutive versions"):
        freeze.load(amended, "small")
    refused(amended)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"parent": "sha256:" + "0" * 64}, 3),
        ({"version": "v4"}, 3),
        ({"study": "other"}, 3),
        ({"amendment": None}, 2),
    ],
)
def test_a_forged_amendment(amended: StudyRoot, change: dict[str, object], code: int) -> None:
    """Its bytes and its leaf agree, and yet it does not follow from what was before it."""
    path, (before, leaf) = amended.document("small", "v3"), ledger.read(amended).of("small", DocumentLeaf)[-2:]
    value = json.loads(path.read_bytes()) | change
    data = canonical_json({name: one for name, one in value.items() if one is not None})
    path.write_bytes(data)
    forged(amended, [before, leaf.model_copy(update={"document": sha256(data)})])
    refused(amended, codes=(code,))


def test_an_id_forged_to_stand_for_two_claims(amended: StudyRoot) -> None:
    path, (before, leaf) = amended.document("small", "v3"), ledger.read(amended).of("small", DocumentLeaf)[-2:]
    data = path.read_bytes().replace(b"M2 rises with noise.", b"M2 falls with noise.")
    path.write_bytes(data)
    forged(amended, [before, leaf.model_copy(update={"document": sha256(data)})])
    refused(amended, codes=(2,), run=False)


def test_a_ledger_without_the_amendments(amended: StudyRoot) -> None:
    """Cut back to before them: nothing local remembers, until somebody has judged by them."""
    assert all(done.code == 0 for done in three(amended, run=False))
    forged(amended, [])
    assert study.command("audit", "small", "--root", amended.path).code == 3


def test_a_kept_cell_forged_before_an_amendment_is_run(attacked: StudyRoot) -> None:
    """An added cell means another completion; the cells of the first are still those of the first."""
    draft = (study.HERE / "draft.yaml").read_text()
    more = study.amended(draft.replace("strength: [0.2, 0.6, 1.0]}", "strength: [0.2, 0.4, 0.6, 1.0]}", 1))
    assert study.amend(attacked, more).code == 0
    folder = cell(attacked, "*tiny-gaussian_noise-0.2*")
    rows = pq.read_table(folder / "shard.parquet").to_pylist()
    rows[0]["M2"] = 0.5
    shard = shard_bytes(rows, read_cell(folder).table.schema)
    (folder / "shard.parquet").write_bytes(shard)
    rewrite(folder / "manifest.json", {"shard_digest": sha256(shard), "content_digest": content_digest(rows)})
    refused(attacked)


def test_cells_an_amendment_took_out_are_evidence_all_the_same(attacked: StudyRoot) -> None:
    draft = (study.HERE / "draft.yaml").read_text()
    fewer = study.amended(
        draft.replace("strength: [0.2, 0.6, 1.0]}", "strength: [0.2, 1.0]}", 1)
        .replace(
            "statistic: trend, along: strength, metric: M2, where: {perturbation: [gaussian_noise]}",
            "statistic: difference, metric: M2, of: {perturbation: [gaussian_noise], strength: [1.0]}, "
            "minus: {perturbation: [gaussian_noise], strength: [0.2]}",
        )
        .replace(
            "kind: trend, estimand: rise, order: rising, confirm_at: 0.9, refute_at: 0.5, smallest: 1.0e-6",
            "kind: threshold, estimand: rise, direction: above, confirm_at: 0.05, refute_at: 0.01, use: interval",
        )
    )
    assert study.amend(attacked, fewer).code == 0
    folder = cell(attacked, "*tiny-gaussian_noise-0.6*")
    data = (folder / "shard.parquet").read_bytes()
    (folder / "shard.parquet").write_bytes(flipped(data, 100, random.Random(9)))
    refused(attacked)
    shutil.rmtree(folder)
    for done in three(attacked, run=False):
        assert done.code == 11
        assert done.err.startswith("CellsIncomplete: ")
        assert "an amendment" in done.err
        assert folder.name in done.err
