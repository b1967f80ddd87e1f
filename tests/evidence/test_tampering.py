"""Whatever changes, by one bit or by hand, is refused by launch, verdict and audit; and says what to do."""

import io
import json
import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.small import study
from tests.small.study import Done
from vjepa_stress.digest import canonical_json, parse_json, sha256, write_durably
from vjepa_stress.errors import BadDocument, CannotWrite, LedgerTampered, StressError, Tampered
from vjepa_stress.prereg import freeze, ledger
from vjepa_stress.prereg.ledger import Leaf
from vjepa_stress.prereg.root import StudyRoot
from vjepa_stress.prereg.scenarios import Pilot
from vjepa_stress.records import content_digest, manifests_root, read_cell, shard_bytes
from vjepa_stress.sweep.demo import prepare
from vjepa_stress.verdict.check import _pilot
from vjepa_stress.verdict.gate import gate

VERDICT_WORDS = {"confirmed", "refuted", "ambiguous"}


def three(root: StudyRoot, name: str = "small", run: bool = True) -> list[Done]:
    """Launch, verdict and audit."""
    where = ("--root", root.path)
    launched = [study.command("run", f"study={name}", "-m", "--config-dir", study.CONF, *where)] if run else []
    return [*launched, study.command("verdict", name, *where), study.command("audit", name, *where)]


def refused(root: StudyRoot, codes: tuple[int, ...] = (3,), name: str = "small", run: bool = True) -> None:
    """All three refuse with one of these codes, without a traceback, and say what was found and what to do."""
    for done in three(root, name, run):
        assert done.code in codes, f"exit code {done.code}\n{done.err}"
        assert "Traceback" not in done.err
        assert "where:" in done.err or "found:" in done.err


@pytest.fixture
def demo(tmp_path: Path) -> StudyRoot:
    """The shipped demo, registered and not run."""
    return prepare(tmp_path / "demo")


def flipped(data: bytes, position: int, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1 << chance.randrange(8)
    return bytes(changed)


def test_a_bit_flipped_in_every_byte_of_the_demo_preregistration(demo: StudyRoot) -> None:
    path, view, chance = demo.document("demo", "v1"), ledger.read(demo), random.Random(1)
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(flipped(data, position, chance))
        with pytest.raises(Tampered, match="not the one that was registered"):
            freeze.load(demo, "demo", view)
    path.write_bytes(data)
    assert freeze.load(demo, "demo").root_digest == sha256(data)


def test_a_hundred_flips_of_it_through_the_commands(demo: StudyRoot) -> None:
    path, chance = demo.document("demo", "v1"), random.Random(2)
    data = path.read_bytes()
    for _ in range(100):
        path.write_bytes(flipped(data, chance.randrange(len(data)), chance))
        refused(demo, name="demo")
    path.write_bytes(data)


@pytest.mark.slow
def test_a_hundred_flips_of_it_through_processes(demo: StudyRoot) -> None:
    path, chance = demo.document("demo", "v1"), random.Random(3)
    data = path.read_bytes()
    for _ in range(100):
        path.write_bytes(flipped(data, chance.randrange(len(data)), chance))
        for words in (("run", "study=demo", "-m"), ("verdict", "demo"), ("audit", "demo")):
            done = study.shell(*words, "--root", demo.path)
            assert done.code in (3, 2), done.err
            assert "Traceback" not in done.err


def test_one_flip_through_processes(demo: StudyRoot) -> None:
    path = demo.document("demo", "v1")
    path.write_bytes(path.read_bytes().replace(b'"confirm_at":0.9', b'"confirm_at":0.8', 1))
    for words in (("run", "study=demo", "-m"), ("verdict", "demo"), ("audit", "demo")):
        done = study.shell(*words, "--root", demo.path)
        assert (done.code, "Traceback" in done.err) == (3, False), done.err


def test_a_bit_flipped_in_every_byte_of_the_ledger(attacked: StudyRoot) -> None:
    chance = random.Random(4)
    for path in (attacked.ledger, attacked.checkpoint):
        data = path.read_bytes()
        for position in range(len(data)):
            path.write_bytes(flipped(data, position, chance))
            with pytest.raises(Tampered):
                ledger.read(attacked)
        for position in chance.sample(range(len(data)), 10):
            path.write_bytes(flipped(data, position, chance))
            refused(attacked)
        path.write_bytes(data)
    assert all(done.code == 0 for done in three(attacked))


@pytest.mark.parametrize("file", ["manifest.json", "shard.parquet"])
def test_a_bit_flipped_in_every_byte_of_a_cell(attacked: StudyRoot, file: str) -> None:
    folders = sorted(study.cells(attacked).iterdir())
    others = [read_cell(folder) for folder in folders]
    promised, chance = manifests_root(others), random.Random(5)
    path = folders[3] / file
    data = path.read_bytes()
    for position in range(len(data)):
        path.write_bytes(flipped(data, position, chance))
        try:
            others[3] = read_cell(folders[3])
        except Tampered:
            continue
        # A manifest may still be one after a flip; the root over all manifests no longer is.
        assert manifests_root(others) != promised
    for position in chance.sample(range(len(data)), 20):
        path.write_bytes(flipped(data, position, chance))
        refused(attacked)
    path.write_bytes(data)
    assert all(done.code == 0 for done in three(attacked))


def rewrite(path: Path, change: dict[str, object]) -> None:
    """Change fields of a canonical JSON file, as somebody with care would."""
    value = parse_json(path.read_bytes()) | change
    path.write_bytes(canonical_json(value))


def forge(folder: Path, worse: bool) -> None:
    """Change one value of a shard, and with care also every digest in its manifest."""
    stored = read_cell(folder)
    rows = stored.table.to_pylist()
    if worse:
        rows[0]["M2"] = rows[0]["M2"] / 2
    else:
        rows.pop()
    columns = ("M1", "M1a", "M2", "M2a")
    shard = shard_bytes(rows, columns)
    (folder / "shard.parquet").write_bytes(shard)
    change = {"shard_digest": sha256(shard), "content_digest": content_digest(rows), "rows": len(rows)}
    rewrite(folder / "manifest.json", change)


def reforged(root: StudyRoot, folder: Path, shard: bytes) -> None:
    """Another shard, with the manifest's file digest to match."""
    (folder / "shard.parquet").write_bytes(shard)
    rewrite(folder / "manifest.json", {"shard_digest": sha256(shard)})


def without_results(root: StudyRoot) -> None:
    """Take away what was shown, as somebody does who takes the looks out of the ledger."""
    for folder in (study.outputs(root), study.outputs(root) / "exploratory"):
        for path in (*folder.glob("verdict*"), *folder.glob("report*")):
            path.unlink()


def keep_leaves(root: StudyRoot, count: int) -> None:
    """Cut the ledger after so many leaves, and make its checkpoint agree."""
    view = ledger.read(root)
    root.ledger.write_bytes(b"".join(root.ledger.read_bytes().splitlines(keepends=True)[:count]))
    root.checkpoint.write_text(f"{view.checkpoint(count)}\n")


def cell(root: StudyRoot, name: str) -> Path:
    return next(study.cells(root).glob(name))


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
        {"weights_digest": "sha256:" + "0" * 64},
        {"code_digest": "sha256:" + "0" * 64},
        {"config_digest": "sha256:" + "0" * 64},
        {"prereg_digest": "sha256:" + "0" * 64},
        {"host": "elsewhere"},
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
        (1, {}),
        (1, {"weights": {"tiny": "unknown"}}),
        (1, {"attempt": "1"}),
        (2, {"root": None}),
        (3, {"files": ["verdict.json"]}),
    ],
)
def test_leaves_without_what_they_must_say(attacked: StudyRoot, line: int, change: dict[str, object]) -> None:
    """The whole ledger rewritten, so that it agrees with itself."""
    leaves = ledger.read(attacked).leaves
    keep_leaves(attacked, line)
    for leaf in leaves[line:]:
        details = (leaf.details | change if change else {}) if leaf.seq == line else leaf.details
        if leaf.seq == line:
            ledger.append(attacked, leaf.event, leaf.study, document=leaf.document, details=details)
    refused(attacked)


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
    shutil.rmtree(cell(attacked, "*tiny-gaussian_noise-0.2*"))
    for done in three(attacked, run=False):
        assert done.code == 11
        assert "not exactly the cells registered" in done.err


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
        details = {**leaf.details, "note": "rewritten"} if leaf.event == "registered" else leaf.details
        ledger.append(attacked, leaf.event, leaf.study, document=leaf.document, details=details)
    refused(attacked)


def test_a_ledger_cut_together_with_its_checkpoint(attacked: StudyRoot) -> None:
    lines = attacked.ledger.read_bytes().splitlines(keepends=True)
    view = ledger.read(attacked)
    attacked.ledger.write_bytes(lines[0])
    attacked.checkpoint.write_text(f"{view.checkpoint(1)}\n")
    refused(attacked)


def test_a_run_from_before_the_registration_cannot_be_evaluated(attacked: StudyRoot) -> None:
    """A forger who can rewrite everything, manifests included, still has the order of the leaves against him."""
    leaves = ledger.read(attacked).leaves
    attacked.ledger.unlink()
    attacked.checkpoint.unlink()
    document = leaves[0].document
    launched, checkpoint = ledger.append(attacked, "launched", "small", document=document, details=leaves[1].details)
    ledger.append(attacked, "registered", "small", document=document, details=leaves[0].details)
    record = {"size": checkpoint.size, "root": checkpoint.root}
    for folder in study.cells(attacked).iterdir():
        rewrite(folder / "manifest.json", {"ledger_checkpoint": record})
    root = manifests_root([read_cell(folder) for folder in study.cells(attacked).iterdir()])
    details = {**leaves[2].details, "root": root}
    ledger.append(attacked, "completed", "small", document=document, details=details)
    without_results(attacked)
    assert launched.seq == 0
    for done in three(attacked, run=False):
        assert done.code == 11, done.err
        assert "before the study was registered" in done.err


def test_an_edited_verdict(attacked: StudyRoot) -> None:
    path = study.outputs(attacked) / "verdict.json"
    path.write_bytes(path.read_bytes().replace(b'"verdict":"confirmed"', b'"verdict":"refuted"', 1))
    before = path.read_bytes()
    for word in ("audit", "verdict", "report"):
        done = study.command(word, "--root", attacked.path, "small")
        assert done.code == 3
        assert "not the one that was written and logged" in done.err
    assert path.read_bytes() == before, "the trace of the edit was overwritten"
    chance, data = random.Random(6), path.read_bytes()
    for position in chance.sample(range(len(data)), 20):
        path.write_bytes(flipped(data, position, chance))
        assert study.command("audit", "--root", attacked.path, "small").code == 3


def test_an_edited_verdict_logged_with_care(attacked: StudyRoot) -> None:
    path = study.outputs(attacked) / "verdict.json"
    data = path.read_bytes().replace(b'"verdict":"confirmed"', b'"verdict":"refuted"', 1)
    path.write_bytes(data)
    ledger.append(attacked, "viewed", "small", details={"kind": "verdict", "files": {"verdict.json": sha256(data)}})
    done = study.command("audit", "--root", attacked.path, "small")
    assert done.code == 3
    assert "not what the evidence gives" in done.err


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
    ledger.append(attacked, "viewed", "small", details={"kind": "verdict", "files": {"verdict.json": digest}})
    done = study.command("verdict", "--root", attacked.path, "small")
    assert done.code == 0, done.err
    assert study.command("audit", "--root", attacked.path, "small").code == 0


def test_an_audit_shows_no_outcome_before_a_look(attacked: StudyRoot) -> None:
    keep_leaves(attacked, 3)
    without_results(attacked)
    done = study.command("audit", "--root", attacked.path, "small", "--json")
    assert (done.code, done.json["audited"]["small"]["verdicts"]) == (0, {})
    assert "nobody has looked yet" in done.err
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
    with pytest.raises(BadDocument, match="look at it first"):
        _pilot(attacked, scenario)


def test_a_ledger_deleted_to_register_again(attacked: StudyRoot) -> None:
    attacked.ledger.unlink()
    attacked.checkpoint.unlink()
    for done in (*three(attacked), study.register(attacked), study.command("audit", "--root", attacked.path)):
        assert done.code == 3, done.err
        assert "outputs of a registration that the ledger does not know" in done.err
    folder = attacked.path / "outputs"
    folder.rename(folder.with_name("elsewhere"))
    draft = attacked.prereg / "small" / "draft.yaml"
    draft.write_text(draft.read_text().replace("confirm_at: 0.9", "confirm_at: 0.8"))
    done = study.register(attacked)
    assert done.code == 3
    assert "another v1 of small is there" in done.err
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
    shard = shard_bytes(rows, ("M1", "M1a", "M2", "M2a"))
    (folder / "shard.parquet").write_bytes(shard)
    rewrite(folder / "manifest.json", {"shard_digest": sha256(shard), "content_digest": content_digest(rows)})
    leaves = ledger.read(root).leaves
    root.ledger.unlink()
    root.checkpoint.unlink()
    for leaf in leaves[:2]:
        # The times of the leaves are new, and with them the checkpoint that the manifests must name.
        _, checkpoint = ledger.append(root, leaf.event, "small", document=leaf.document, details=leaf.details)
    for path in study.cells(root).iterdir():
        record = {"size": checkpoint.size, "root": checkpoint.root}
        rewrite(path / "manifest.json", {"ledger_checkpoint": record})
    done_root = manifests_root([read_cell(path) for path in study.cells(root).iterdir()])
    details = {**leaves[2].details, "root": done_root}
    ledger.append(root, "completed", "small", document=leaves[0].document, details=details)
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
    parts = [part for one in json.loads(stored)["hypotheses"] for part in one["parts"]]
    assert {part["outcome"] for part in parts} <= {"exploratory-for", "exploratory-open", "exploratory-against"}
    assert parts
    folder = study.outputs(attacked)
    files = [path for path in folder.rglob("*") if path.is_file()]
    written = [path for path in files if "exploratory" in path.relative_to(folder).as_posix()]
    assert len(written) == 5
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


def test_every_error_of_the_gate_has_a_class_and_code() -> None:
    def below(kind: type[StressError]) -> list[type[StressError]]:
        return [kind] + [leaf for child in kind.__subclasses__() for leaf in below(child)]

    codes = {kind.__name__: kind.exit_code for kind in below(StressError)}
    assert set(codes.values()) == {1, 2, 3, 4, 11}


@pytest.fixture
def amended(attacked: StudyRoot) -> StudyRoot:
    """The finished study, amended once and then with a part withdrawn; not judged since."""
    draft = (study.HERE / "draft.yaml").read_text().replace("confirm_at: 0.9", "confirm_at: 0.8")
    for done in (study.amend(attacked, study.amended(draft)), study.withdraw(attacked, "H2.ratio")):
        assert done.code == 0, done.err
    assert [edition.document.version for edition in freeze.load(attacked, "small").lineage] == ["v1", "v2", "v3"]
    return attacked


def forged(root: StudyRoot, leaves: Sequence[Leaf]) -> None:
    """The ledger of before the amendments, continued by a forger who can write it as he likes."""
    keep_leaves(root, 5)
    for leaf in leaves:
        ledger.append(root, leaf.event, leaf.study, document=leaf.document, parent=leaf.parent, details=leaf.details)


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
        with pytest.raises(Tampered, match="not the one that was registered"):
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
        lambda v2, v3: [v2, v3.model_copy(update={"event": "registered"})],
        lambda v2, v3: [v2.model_copy(update={"parent": None}), v3],
    ],
    ids=["the middle left out", "swapped", "twice", "another parent", "registered again", "no parent"],
)
def test_a_forged_order_of_amendments(amended: StudyRoot, forge: Callable[[Leaf, Leaf], list[Leaf]]) -> None:
    forged(amended, forge(*ledger.read(amended).leaves[-2:]))
    with pytest.raises(LedgerTampered, match="do not follow from each other"):
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
    path, leaf = amended.document("small", "v3"), ledger.read(amended).leaves[-1]
    value = json.loads(path.read_bytes()) | change
    data = canonical_json({name: one for name, one in value.items() if one is not None})
    path.write_bytes(data)
    forged(amended, [ledger.read(amended).leaves[-2], leaf.model_copy(update={"document": sha256(data)})])
    refused(amended, codes=(code,))


def test_an_id_forged_to_stand_for_two_claims(amended: StudyRoot) -> None:
    path, leaf = amended.document("small", "v3"), ledger.read(amended).leaves[-1]
    data = path.read_bytes().replace(b"M2 rises with noise.", b"M2 falls with noise.")
    path.write_bytes(data)
    forged(amended, [ledger.read(amended).leaves[-2], leaf.model_copy(update={"document": sha256(data)})])
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
    shard = shard_bytes(rows, ("M1", "M1a", "M2", "M2a"))
    (folder / "shard.parquet").write_bytes(shard)
    rewrite(folder / "manifest.json", {"shard_digest": sha256(shard), "content_digest": content_digest(rows)})
    refused(attacked)


def test_cells_an_amendment_took_out_are_evidence_all_the_same(attacked: StudyRoot) -> None:
    draft = (study.HERE / "draft.yaml").read_text()
    fewer = study.amended(
        draft.replace("strength: [0.2, 0.6, 1.0]}", "strength: [0.2, 1.0]}", 1).replace("trend", "mean")
    )
    assert study.amend(attacked, fewer).code == 0
    folder = cell(attacked, "*tiny-gaussian_noise-0.6*")
    data = (folder / "shard.parquet").read_bytes()
    (folder / "shard.parquet").write_bytes(flipped(data, 100, random.Random(9)))
    refused(attacked)
    shutil.rmtree(folder)
    for done in three(attacked, run=False):
        assert done.code == 11
        assert "evidence all the same" in done.err
