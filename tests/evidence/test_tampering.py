"""Whatever changes, by one bit or by hand, is refused by launch, verdict and audit; and says what to do."""

import io
import json
import random
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.evidence.attack import (
    append_again,
    append_bytes,
    cell,
    flipped,
    forge,
    keep_leaves,
    reforged,
    refused,
    rewrite,
    three,
    without_results,
)
from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.digest import canonical_json, sha256
from vjepa_stress.disk import write_durably
from vjepa_stress.errors import BadDocument, CannotWrite, LedgerTampered
from vjepa_stress.ledger import Registered
from vjepa_stress.ledger.checkpoint import Note
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.scenarios import Pilot
from vjepa_stress.records import content_digest, manifests_root, read_cell, shard_bytes
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.check.chances import _pilot
from vjepa_stress.verdict.gate import gate

VERDICT_WORDS = {"confirmed", "refuted", "ambiguous"}


def test_swapped_shards(attacked: StudyRoot) -> None:
    one, other = cell(attacked, "*tiny-gaussian_noise-0.2*"), cell(attacked, "*tiny-gaussian_noise-1-*")
    for name in ("shard.parquet", "manifest.json"):
        data = (one / name).read_bytes()
        (one / name).write_bytes((other / name).read_bytes())
        (other / name).write_bytes(data)
    refused(attacked)


@pytest.mark.parametrize("worse", [True, False], ids=["a value", "a row"])
def test_a_shard_forged_together_with_its_manifest(attacked: StudyRoot, worse: bool) -> None:
    forge(cell(attacked, "*tiny-gaussian_noise-0.2*"), worse)
    refused(attacked)


@pytest.mark.parametrize(
    "change",
    [
        {"identities": {"weights": "sha256:" + "0" * 64, "clips": "sha256:" + "0" * 64}},
        {"code_digest": "sha256:" + "0" * 64},
        {"config_digest": "sha256:" + "0" * 64},
        {"prereg_digest": "sha256:" + "0" * 64},
        {"finished": "2099-01-01T00:00:00Z"},
        {"finished": "2026-01-01T00:00:00Z"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_manifest_edited_with_care(attacked: StudyRoot, change: dict[str, object]) -> None:
    rewrite(cell(attacked, "*tiny-gaussian_noise-0.2*") / "manifest.json", change)
    refused(attacked)


@pytest.mark.parametrize("how", ["garbage", "no clips", "NaN", "infinity"])
def test_a_shard_that_is_no_shard(attacked: StudyRoot, how: str) -> None:
    folder = cell(attacked, "*tiny-gaussian_noise-0.2*")
    table = pq.read_table(folder / "shard.parquet")
    if how == "no clips":
        table = table.drop_columns(["clip"])
    elif how != "garbage":
        place = table.schema.get_field_index("M2")
        values = pa.array([float("nan" if how == "NaN" else "inf")] * len(table))
        table = table.set_column(place, table.schema.field(place), values)
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    reforged(attacked, folder, b"PAR1garbagePAR1" if how == "garbage" else buffer.getvalue())
    refused(attacked)


@pytest.mark.parametrize("data", [b"{}", b"", b"\xff"])
def test_a_failure_that_is_no_record(attacked: StudyRoot, data: bytes) -> None:
    folder = study.cells(attacked).parent / "failures"
    folder.mkdir(exist_ok=True)
    (folder / "x.json").write_bytes(data)
    refused(attacked, run=False)


@pytest.mark.parametrize(
    ("line", "change"),
    [
        (0, {"version": 1}),
        (0, {"schema": "vjepa-stress/leaf/v1"}),
        (0, {"event": "launched"}),
        (1, {"cells": ...}),
        (1, {"deviation": ...}),
        (1, {"identities": {"weights": {"tiny": "unknown"}}}),
        (1, {"attempt": "1"}),
        (1, {"details": {}}),
        (2, {"root": None}),
        (3, {"files": ["verdict.json"]}),
        (3, {"event": "signed"}),
    ],
)
def test_leaves_without_what_they_must_say(attacked: StudyRoot, line: int, change: dict[str, object]) -> None:
    """The ledger rewritten, so that it agrees with itself."""
    leaf = json.loads(line_of(attacked, line)) | change
    keep_leaves(attacked, line)
    append_bytes(attacked, canonical_json({name: value for name, value in leaf.items() if value is not ...}))
    refused(attacked)
    with pytest.raises(LedgerTampered, match="not an event"):
        ledger.read(attacked)


def test_a_line_put_back_is_no_tampering(attacked: StudyRoot) -> None:
    """The attack above changes nothing but what it means to change."""
    line = line_of(attacked, 4)
    keep_leaves(attacked, 4)
    append_bytes(attacked, line)
    assert all(done.code == 0 for done in three(attacked))


def line_of(root: StudyRoot, number: int) -> bytes:
    return root.ledger.read_bytes().splitlines()[number]


@pytest.mark.parametrize("name", ["ledger", "checkpoint"])
def test_a_folder_in_place_of_a_file(attacked: StudyRoot, name: str) -> None:
    path = getattr(attacked, name)
    path.unlink()
    path.mkdir()
    refused(attacked)


def test_a_folder_in_place_of_the_verdict(attacked: StudyRoot) -> None:
    path = study.outputs(attacked) / "verdict.json"
    path.unlink()
    path.mkdir()
    refused(attacked, run=False)
    with pytest.raises(CannotWrite, match="cannot be written"):
        write_durably(path, b"")


def test_a_dropped_cell_cannot_be_evaluated(attacked: StudyRoot) -> None:
    folder = cell(attacked, "*tiny-gaussian_noise-0.2*")
    shutil.rmtree(folder)
    for done in three(attacked, run=False):
        assert done.code == 11
        assert done.err.startswith("CellsIncomplete: ")
        assert folder.name in done.err


def test_an_added_cell_cannot_be_evaluated(attacked: StudyRoot) -> None:
    folder = cell(attacked, "*tiny-gaussian_noise-0.2*")
    shutil.copytree(folder, folder.with_name("small-tiny-gaussian_noise-0.3-000000000000"))
    for done in three(attacked, run=False):
        assert done.code == 11
    assert three(attacked)[0].code == 3


def test_tampering_comes_before_incompleteness(attacked: StudyRoot) -> None:
    shutil.rmtree(cell(attacked, "*tiny-gaussian_noise-0.2*"))
    (cell(attacked, "*tiny-gaussian_noise-1-*") / "shard.parquet").write_bytes(b"nothing")
    refused(attacked)


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: data.replace(b'"confirm_at":0.9', b'"confirm_at":0.1', 1),
        lambda data: json.dumps(json.loads(data), indent=1).encode(),
        lambda data: data + b"\n",
        lambda data: b"\xef\xbb\xbf" + data,
        lambda data: data.replace(b'"analysis":', b'"analysis":{},"analysis":', 1),
        lambda data: b"",
    ],
    ids=["a threshold", "reserialised", "a newline", "a BOM", "a duplicate key", "emptied"],
)
def test_an_edited_preregistration(attacked: StudyRoot, edit: object) -> None:
    assert callable(edit)
    path = attacked.document("small", "v1")
    path.write_bytes(edit(path.read_bytes()))
    refused(attacked)


def test_a_missing_preregistration(attacked: StudyRoot) -> None:
    attacked.document("small", "v1").unlink()
    refused(attacked)


def test_the_ledger_made_anew_after_the_results(attacked: StudyRoot) -> None:
    """The whole ledger rewritten consistently: every manifest saw another one."""
    old = ledger.read(attacked)
    attacked.ledger.unlink()
    attacked.checkpoint.unlink()
    for leaf in old.leaves:
        append_again(attacked, leaf, **({"hypotheses": ()} if isinstance(leaf, Registered) else {}))
    refused(attacked)


def test_a_ledger_cut_together_with_its_checkpoint(attacked: StudyRoot) -> None:
    lines = attacked.ledger.read_bytes().splitlines(keepends=True)
    view = ledger.read(attacked)
    attacked.ledger.write_bytes(lines[0])
    attacked.checkpoint.write_bytes(Note(view.checkpoint(1)).to_bytes())
    refused(attacked)


def test_a_run_from_before_the_registration_cannot_be_evaluated(attacked: StudyRoot) -> None:
    """A forger who can rewrite everything, manifests included, still has the order of the leaves against him."""
    leaves = ledger.read(attacked).leaves
    attacked.ledger.unlink()
    attacked.checkpoint.unlink()
    checkpoint = append_again(attacked, leaves[1])
    append_again(attacked, leaves[0])
    record = {"size": checkpoint.size, "root": checkpoint.root}
    for folder in study.cells(attacked).iterdir():
        rewrite(folder / "manifest.json", {"ledger_checkpoint": record})
    root = manifests_root([read_cell(folder) for folder in study.cells(attacked).iterdir()])
    append_again(attacked, leaves[2], root=root)
    without_results(attacked)
    assert [leaf.event for leaf in ledger.read(attacked).leaves] == ["launched", "registered", "completed"]
    for done in three(attacked, run=False):
        assert done.code == 11, done.err
        assert done.err.startswith("RunBeforeRegistration: ")
        assert "line 1\n  expected: after line 2" in done.err


def test_an_edited_verdict(attacked: StudyRoot) -> None:
    path = study.outputs(attacked) / "verdict.json"
    logged = sha256(path.read_bytes())
    path.write_bytes(path.read_bytes().replace(b'"verdict":"confirmed"', b'"verdict":"refuted"', 1))
    before = path.read_bytes()
    for word in ("audit", "verdict", "report"):
        done = study.command(word, "--root", attacked.path, "small")
        assert done.code == 3
        assert done.err.startswith("ResultTampered: ")
        assert f"{path}\n  expected: {logged}\n  found: {sha256(before)}" in done.err
    assert path.read_bytes() == before, "the trace of the edit was overwritten"
    chance, data = random.Random(6), path.read_bytes()
    for position in chance.sample(range(len(data)), 20):
        path.write_bytes(flipped(data, position, chance))
        assert study.command("audit", "--root", attacked.path, "small").code == 3


def test_an_edited_verdict_logged_with_care(attacked: StudyRoot) -> None:
    path = study.outputs(attacked) / "verdict.json"
    data = path.read_bytes().replace(b'"verdict":"confirmed"', b'"verdict":"refuted"', 1)
    path.write_bytes(data)
    append_again(attacked, ledger.read(attacked).leaves[3], files={"verdict.json": sha256(data)})
    done = study.command("audit", "--root", attacked.path, "small")
    assert done.code == 3
    assert done.err.startswith("ResultTampered: ")
    assert f"{path}, hypotheses[0].verdict\n  expected: confirmed\n  found: refuted" in done.err


def test_results_that_no_look_names(attacked: StudyRoot) -> None:
    """Looks cut out of the ledger, checkpoint and all, while what was shown stays."""
    keep_leaves(attacked, 3)
    names = [leaf.event for leaf in ledger.read(attacked).leaves]
    assert names == ["registered", "launched", "completed"]
    for place in ("verdict.json", "report.html", "exploratory/report.md"):
        without_results(attacked)
        path = study.outputs(attacked) / place
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"{}")
        for done in three(attacked, run=False):
            assert done.code == 3, done.err
            assert "no look" in done.err
            assert place in done.err
        draft = study.amended((study.HERE / "draft.yaml").read_text().replace("confirm_at: 0.9", "confirm_at: 0.8"))
        assert study.amend(attacked, draft).code == 3
        path.unlink()


def test_a_look_cut_off_before_its_file(attacked: StudyRoot) -> None:
    """The leaf comes first: the file is then missing, or the one of the look before."""
    digest = sha256(b"never written")
    append_again(attacked, ledger.read(attacked).leaves[3], files={"verdict.json": digest})
    done = study.command("verdict", "--root", attacked.path, "small")
    assert done.code == 0, done.err
    assert study.command("audit", "--root", attacked.path, "small").code == 0


def test_an_audit_shows_no_outcome_before_a_look(attacked: StudyRoot) -> None:
    keep_leaves(attacked, 3)
    without_results(attacked)
    done = study.command("audit", "--root", attacked.path, "small", "--json")
    assert (done.code, done.json["audited"]["small"]["verdicts"]) == (0, {})
    assert "no look is logged yet" in done.err
    assert not any(word in done.out for word in ("confirmed", "refuted"))
    assert study.command("verdict", "--root", attacked.path, "small").code == 0
    done = study.command("audit", "--root", attacked.path, "small", "--json")
    assert set(done.json["audited"]["small"]["verdicts"]) > {"H1"}


def test_a_pilot_that_nobody_looked_at(attacked: StudyRoot) -> None:
    document = freeze.load(attacked, "small").digest
    scenario = Pilot.model_validate(
        {"kind": "pilot", "says": "as before", "study": "small", "document": document, "attempt": 1}
    )
    assert _pilot(attacked, scenario).cells
    keep_leaves(attacked, 3)
    without_results(attacked)
    with pytest.raises(BadDocument, match="log a look at the pilot first"):
        _pilot(attacked, scenario)


def test_a_ledger_deleted_to_register_again(attacked: StudyRoot) -> None:
    known = study.outputs(attacked).name
    attacked.ledger.unlink()
    attacked.checkpoint.unlink()
    for done in (*three(attacked), study.register(attacked), study.command("audit", "--root", attacked.path)):
        assert done.code == 3, done.err
        assert done.err.startswith("LedgerTampered: ")
        assert f"found: {known}" in done.err
    folder = attacked.path / "outputs"
    folder.rename(folder.with_name("elsewhere"))
    draft = attacked.prereg / "small" / "draft.yaml"
    draft.write_text(draft.read_text().replace("confirm_at: 0.9", "confirm_at: 0.8"))
    done = study.register(attacked)
    assert done.code == 3
    assert "DocumentTampered: another v1 of small" in done.err
    attacked.document("small", "v1").unlink()
    assert study.register(attacked).code == 0
    folder.with_name("elsewhere").rename(folder)
    refused(attacked)


@pytest.mark.parametrize("name", ["report.html", "report.md", "report-M2.svg"])
def test_an_edited_report(attacked: StudyRoot, name: str) -> None:
    path = study.outputs(attacked) / name
    path.write_bytes(path.read_bytes().replace(b"M2", b"M3", 1))
    done = study.command("audit", "--root", attacked.path, "small")
    assert done.code == 3
    assert name in done.err


def test_an_edited_clip_manifest(attacked: StudyRoot) -> None:
    path = next((attacked.prereg / "small" / "clips").iterdir())
    path.write_bytes(path.read_bytes().replace(b"procedural/", b"elsewhere./", 1))
    for done in three(attacked, run=False):
        assert done.code == 3
        assert "clip manifest" in done.err


def test_a_non_finite_value_cannot_be_evaluated(finished: StudyRoot, tmp_path: Path) -> None:
    """Not tampered with: a launch that really left such a value, digests, root and all."""
    root = study.copied(finished, tmp_path / "root")
    folder = cell(root, "*tiny-gaussian_noise-0.2*")
    rows = pq.read_table(folder / "shard.parquet").to_pylist()
    rows[0] |= {"M2": None, "non_finite": True, "M2_n_non_finite": 1}
    shard = shard_bytes(rows, read_cell(folder).table.schema)
    (folder / "shard.parquet").write_bytes(shard)
    rewrite(folder / "manifest.json", {"shard_digest": sha256(shard), "content_digest": content_digest(rows)})
    leaves = ledger.read(root).leaves
    root.ledger.unlink()
    root.checkpoint.unlink()
    for leaf in leaves[:2]:
        # The times of the leaves are new, and with them the checkpoint that the manifests must name.
        checkpoint = append_again(root, leaf)
    for path in study.cells(root).iterdir():
        record = {"size": checkpoint.size, "root": checkpoint.root}
        rewrite(path / "manifest.json", {"ledger_checkpoint": record})
    done_root = manifests_root([read_cell(path) for path in study.cells(root).iterdir()])
    append_again(root, leaves[2], root=done_root)
    without_results(root)
    for done in three(root, run=False):
        assert done.code == 11, done.err
        assert "non-finite" in done.err
    looked = study.command("verdict", "--root", root.path, "small", "--exploratory", "--json")
    assert looked.code == 0, looked.err
    assert looked.json["exploratory"]
    assert "confirmed" not in json.dumps(looked.json)
    assert not VERDICT_WORDS & set(re.findall(r"\w+", Path(looked.json["file"]).read_text()))


def test_an_exploratory_look_never_says_confirmed(attacked: StudyRoot) -> None:
    shutil.rmtree(cell(attacked, "*tiny-frame_drops-0.2*"))
    looked = study.command("report", "--root", attacked.path, "small", "--exploratory", "--json")
    assert looked.code == 0, looked.err
    page = Path(looked.json["report"]).read_text()
    assert page.count("EXPLORATORY") >= 2
    assert 'class="v confirmed"' not in page
    assert "exploratory-for" in page
    table = page.split("<h2>Verdicts</h2>")[1].split("</table>")[0]
    said = re.sub(r"<td>[^<]*</td></tr>", "", table)  # what was predicted is the authors' own word
    assert not VERDICT_WORDS & set(re.findall(r"\w+", said))
    stored = (study.outputs(attacked) / "verdict.exploratory.json").read_text()
    assert not VERDICT_WORDS & set(re.findall(r"\w+", stored))
    parts = [part for one in json.loads(stored)["hypotheses"] for part in one["decision"].get("parts", ())]
    assert {part["outcome"] for part in parts} <= {"exploratory-for", "exploratory-open", "exploratory-against"}
    assert parts
    folder = study.outputs(attacked)
    files = [path for path in folder.rglob("*") if path.is_file()]
    written = [path for path in files if "exploratory" in path.relative_to(folder).as_posix()]
    assert len(written) == 6
    for path in written:
        assert b"EXPLORATORY" in path.read_bytes() or b'"exploratory":true' in path.read_bytes()


def test_the_gate_writes_nothing(attacked: StudyRoot) -> None:
    def state() -> dict[str, tuple[int, int]]:
        files = (path for path in attacked.path.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    before = state()
    gate(attacked, "small")
    assert study.command("audit", "--root", attacked.path, "small").code == 0
    assert state() == before
