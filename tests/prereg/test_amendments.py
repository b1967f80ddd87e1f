"""Amendments and withdrawals through the real commands: what they keep, what they change, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.design.video import as_video
from vjepa_stress.digest import parse_json, sha256
from vjepa_stress.errors import DuplicateIdentifier, NoSuccessor, StatusTooEarly
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.data_status import ORDER, floor
from vjepa_stress.prereg.lineage import changes, check_claims
from vjepa_stress.records import cell_names
from vjepa_stress.report import words
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.demo import prepare
from vjepa_stress.verdict.gate import Deviation

PROJECT = Path(__file__).parents[2]
DRAFT = (study.HERE / "draft.yaml").read_text()
LOWER = DRAFT.replace("confirm_at: 0.9, refute_at: 0.5", "confirm_at: 0.8, refute_at: 0.5")
MORE = DRAFT.replace("strength: [0.2, 0.6, 1.0]}", "strength: [0.2, 0.4, 0.6, 1.0]}", 1)
NOISE = "where: {perturbation: [gaussian_noise]}"
ENDS = (
    "of: {perturbation: [gaussian_noise], strength: [1.0]}, minus: {perturbation: [gaussian_noise], strength: [0.2]}"
)
FEWER = (
    DRAFT.replace("strength: [0.2, 0.6, 1.0]}", "strength: [0.2, 1.0]}", 1)
    .replace(f"statistic: trend, along: strength, metric: M2, {NOISE}", f"statistic: difference, metric: M2, {ENDS}")
    .replace("kind: trend, estimand: rise, order: rising", "kind: threshold, estimand: rise, direction: above")
    .replace("confirm_at: 0.9, refute_at: 0.5, smallest: 1.0e-6", "confirm_at: 0.0, refute_at: 0.0, use: interval")
)
COUNTED = DRAFT.replace("kind: all_of\n", "kind: count\n      confirm_at_least: 2\n      refute_at_least: 1\n")


@pytest.fixture
def registered(tmp_path: Path) -> StudyRoot:
    root = study.new_root(tmp_path / "root")
    assert study.register(root).code == 0
    return root


def verdict(root: StudyRoot) -> Any:
    done = study.command("verdict", "small", "--root", root.path)
    assert done.code == 0, done.err
    return parse_json((study.outputs(root) / "verdict.json").read_bytes())


def refused(done: study.Done, *texts: str) -> None:
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    for text in texts:
        assert text in done.err


def sentence(deviation: Any) -> str:
    """What a deviation of a stored verdict says."""
    return words.deviation(Deviation.model_validate(deviation))[1]


def changed(root: StudyRoot) -> list[str]:
    """What the newest document changes, in words."""
    before, after = freeze.load(root, "small").lineage[-2:]
    return [words.change(one) for one in changes(before.document, after.document)]


def events(root: StudyRoot) -> list[str]:
    return [leaf.event for leaf in ledger.read(root).leaves]


def test_an_identical_design_keeps_its_shards(attacked: StudyRoot) -> None:
    before, folder = study.contents(attacked), study.outputs(attacked)
    done = study.amend(attacked, study.amended(LOWER))
    assert done.code == 0, done.err
    assert (done.json["event"], done.json["version"]) == ("amended", "v2")
    assert (study.outputs(attacked), study.contents(attacked)) == (folder, before)
    leaf = ledger.read(attacked).leaves[-1]
    assert isinstance(leaf, ledger.Amended)
    assert leaf.document == sha256(attacked.document("small", "v2").read_bytes())
    assert leaf.parent == sha256(attacked.document("small", "v1").read_bytes())
    assert leaf.reason == "error-in-registration"
    assert leaf.changed == ("H1.rule.confirm_at",)
    assert "H1.rule.confirm_at: 0.9 → 0.8" in done.err
    # The verdict from before is right as of its time.
    audited = study.command("audit", "small", "--root", attacked.path, "--json")
    assert audited.code == 0, audited.err
    assert "the ledger has newer events" in audited.err
    assert "small (v1 ← v2): intact" in audited.err
    assert [line.split()[0] for line in audited.json["audited"]["small"]["lineage"]] == ["v1", "v2"]
    result = verdict(attacked)
    assert (result["version"], result["prereg_digest"]) == ("v2", leaf.document)
    assert result["root_digest"] == leaf.parent
    deviation = result["deviations"][0]
    assert deviation["code"] == "amendment"
    assert deviation["values"] == {"version": "v2", "launches": 1, "looks": 2, "changed": ["H1.rule.confirm_at"]}
    assert "after 1 launch and 2 looks. Changed: H1.rule.confirm_at" in sentence(deviation)
    assert study.command("report", "small", "--root", attacked.path).code == 0
    for name in ("report.html", "report.md"):
        page = (folder / name).read_text()
        assert "rule until v1" in page
        assert leaf.document in page
        assert leaf.parent in page
        for text in ("after 1 launch and 2 looks", "rule.confirm", "0.9 → 0.8", "after-analysis", "slip of the pen"):
            assert text in page
        assert "data status when registered: before-creation" in page
    status = study.command("status", "small", "--root", attacked.path, "--json").json
    assert (status["version"], status["missing"], status["completed"]) == ("v2", 0, True)
    assert "nothing to do" in study.run(attacked).err
    assert study.command("audit", "small", "--root", attacked.path).code == 0


def test_added_cells_alone_are_computed(attacked: StudyRoot) -> None:
    before = {path: path.stat().st_mtime_ns for path in study.cells(attacked).rglob("*.parquet")}
    assert study.amend(attacked, study.amended(MORE)).code == 0
    assert study.command("verdict", "small", "--root", attacked.path).code == 11
    done = study.run(attacked)
    assert done.code == 0, done.err
    assert (done.json["computed"], done.json["computed_before"], done.json["attempt"]) == (4, study.CELLS, 1)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert events(attacked)[-3:] == ["amended", "launched", "completed"]
    # The old verdict is audited as of its time, though there are more cells by now.
    assert study.command("audit", "small", "--root", attacked.path).code == 0
    result = verdict(attacked)
    assert len(result["hypotheses"][1]["estimates"]["rise"]["shards"]) == 4
    assert result["deviations"][0]["values"]["changed"] == ["design.cells"]
    assert [line[:14] for line in changed(attacked)] == ["4 cells added:"]
    manifests = [json.loads(path.read_text()) for path in study.cells(attacked).glob("*-0.4-*/manifest.json")]
    assert {one["prereg_digest"] for one in manifests} == {freeze.load(attacked, "small").digest}
    assert study.command("audit", "small", "--root", attacked.path).code == 0
    again = study.run(attacked, "--again")
    assert (again.code, again.json["computed"]) == (0, study.CELLS + 4), again.err
    assert study.contents(attacked, 2) == study.contents(attacked)
    # The first complete attempt still counts: an amendment cannot make a later one the judged one.
    assert study.amend(attacked, study.amended(MORE.replace("0.4, ", "0.4, 0.5, "), "v3")).code == 0
    done = study.run(attacked)
    assert (done.code, done.json["attempt"], done.json["computed"]) == (0, 1, 4), done.err
    assert verdict(attacked)["attempt"] == 1


def test_removed_cells_are_ignored_and_listed(attacked: StudyRoot) -> None:
    assert study.amend(attacked, study.amended(FEWER)).code == 0
    result = verdict(attacked)
    assert len(result["hypotheses"][1]["estimates"]["rise"]["shards"]) == 2
    (former,) = (one for one in result["deviations"] if one["code"] == "cells-out-of-design")
    assert {cell.rpartition(" at ")[2] for cell in former["values"]["cells"]} == {"0.6"}
    assert "4 cells computed under an earlier version are not judged" in sentence(former)
    assert "nothing to do" in study.run(attacked).err
    # Taken in again, they are what they were: no second chance.
    assert study.amend(attacked, study.amended(DRAFT, "v3")).code == 0
    assert "nothing to do" in study.run(attacked).err
    assert study.command("audit", "small", "--root", attacked.path).code == 0


def test_a_changed_seed_needs_every_cell_anew(attacked: StudyRoot) -> None:
    assert study.amend(attacked, study.amended(DRAFT.replace("  seed: 3", "  seed: 4"))).code == 0
    names = list(cell_names(freeze.load(attacked, "small").lineage).values())
    assert not names[0].keys() & names[1].keys()
    one = study.run(attacked, "model=tiny", "perturbation=reverse")
    assert (one.code, one.json["computed"]) == (0, 1), one.err
    assert study.command("verdict", "small", "--root", attacked.path).code == 11


def test_a_part_is_withdrawn_and_the_rest_judged(attacked: StudyRoot) -> None:
    done = study.withdraw(attacked, "H2.ratio")
    assert done.code == 0, done.err
    assert (done.json["event"], done.json["data_status"]) == ("withdrawn", "after-analysis")
    result = verdict(attacked)["hypotheses"][2]
    assert (result["withdrawn"], result["verdict"]) == (["ratio"], "confirmed")
    assert [part["estimand"] for part in result["decision"]["parts"]] == ["reversal"]
    assert set(result["estimates"]) == {"reversal", "ratio"}
    assert study.command("report", "small", "--root", attacked.path).code == 0
    for name in ("report.html", "report.md"):
        assert "confirmed; part H2.ratio withdrawn" in (study.outputs(attacked) / name).read_text()
    assert study.command("audit", "small", "--root", attacked.path).code == 0
    refused(study.withdraw(attacked, "H2.ratio"), "no active estimand 'ratio'")
    refused(study.withdraw(attacked, "H2.reversal"), "cannot be withdrawn alone")
    refused(study.amend(attacked, study.amended(DRAFT, "v3")), "must stay withdrawn", "H2.ratio")


def test_a_hypothesis_is_withdrawn_and_still_listed(attacked: StudyRoot) -> None:
    assert study.withdraw(attacked, "H1", "--reason", "violated-assumption", "--severity", "None.").code == 0
    result = verdict(attacked)
    one = result["hypotheses"][1]
    assert (one["verdict"], one["decision"]) == ("withdrawn", None)
    assert one["withdrawal"] == {"version": "v2", "cells_lost": False}
    assert one["estimates"]["rise"]["estimate"]["value"] is not None
    assert result["deviations"][0]["code"] == "withdrawal"
    assert study.command("report", "small", "--root", attacked.path).code == 0
    for name in ("report.html", "report.md"):
        page = (study.outputs(attacked) / name).read_text()
        assert "withdrawn in v2: It was ill-posed." in page
        assert "violated-assumption" in page
    strict = study.command("verdict", "small", "--root", attacked.path, "--strict", "--json")
    assert (strict.code, strict.json["verdicts"]["H1"]) == (0, "withdrawn")
    refused(study.withdraw(attacked, "H1"), "it is already withdrawn")
    refused(study.withdraw(attacked, "H9"), "there is no such hypothesis", "C1, H2")
    refused(study.amend(attacked, study.amended(DRAFT, "v3")), "must stay withdrawn")


def test_a_withdrawn_hypothesis_needs_no_cells(attacked: StudyRoot) -> None:
    """Its definition stays; an amended design need not go on running what nothing judges."""
    lines = "perturbation: [gaussian_noise, frame_drops]", "perturbation: [identity, reverse]"
    left = "perturbation: [gaussian_noise]", "perturbation: [identity]"
    without = DRAFT
    for old, new in zip(lines, left, strict=True):
        assert old in without
        without = without.replace(old, new, 1)
    refused(study.amend(attacked, study.amended(without)), "H2.reversal", "selects no cell of the design")
    gone = without.replace("    title: Reversal", "    status: withdrawn\n    title: Reversal")
    gone = "".join(line for line in gone.splitlines(keepends=True) if "[reverse]}, mean" not in line)
    done = study.amend(attacked, study.amended(gone))
    assert done.code == 0, done.err
    one = verdict(attacked)["hypotheses"][2]
    assert (one["verdict"], one["estimates"]) == ("withdrawn", {})
    assert study.command("report", "small", "--root", attacked.path).code == 0
    for name in ("report.html", "report.md"):
        page = (study.outputs(attacked) / name).read_text()
        assert "Reversal" in page
        assert "Not all of its cells are in the design" in page
    assert study.command("audit", "small", "--root", attacked.path).code == 0
    assert one["withdrawal"] == {"version": "v2", "cells_lost": True}
    other = gone.replace("low: 0.5, high: 1.5", "low: 0.4, high: 1.5")
    refused(study.amend(attacked, study.amended(other, "v3")), "withdrawn hypothesis has changed", "H2")
    refused(study.amend(attacked, study.amended(without, "v3")), "H2.reversal", "selects no cell of the design")
    refused(study.amend(attacked, study.amended(DRAFT, "v3")), "must stay withdrawn")
    # Its cells may come back; it may not.
    back = DRAFT.replace("    title: Reversal", "    status: withdrawn\n    title: Reversal")
    assert study.amend(attacked, study.amended(back, "v3")).code == 0
    assert set(verdict(attacked)["hypotheses"][2]["estimates"]) == {"reversal", "ratio"}


@pytest.mark.parametrize(
    "words",
    [("--why", ""), ("--why", "  "), ("--severity", ""), ("--validity", "\t")],
    ids=["", "space", "severity", "tab"],
)
def test_a_withdrawal_says_why(registered: StudyRoot, words: tuple[str, str]) -> None:
    refused(study.withdraw(registered, "H1", *words), words[0], "expected: some text")
    assert events(registered) == ["registered"]


def test_a_withdrawn_gate_opens_nothing(attacked: StudyRoot) -> None:
    assert study.withdraw(attacked, "C1").code == 0
    assert [one["verdict"] for one in verdict(attacked)["hypotheses"]] == ["withdrawn", *["not-evaluable"] * 2]


def test_counts_must_be_restated(tmp_path: Path) -> None:
    root = study.new_root(tmp_path / "root", COUNTED)
    assert study.register(root).code == 0
    refused(study.withdraw(root, "H2.ratio"), "an amendment must restate them")
    refused(study.withdraw(root, "H1.rise"), "its rule reads nothing else", "withdraw the whole of H1")
    assert events(root) == ["registered"]


@pytest.mark.parametrize("status", ORDER[:-1])
def test_after_a_look_nobody_claims_to_be_early(attacked: StudyRoot, status: str) -> None:
    before = events(attacked)
    refused(study.amend(attacked, study.amended(LOWER, status=status)), f"{status} is too early", "a look at results")
    assert events(attacked) == before
    assert not attacked.document("small", "v2").exists()
    # The same clips under another study's name are the same clips.
    other = attacked.prereg / "other"
    other.mkdir()
    (other / "draft.yaml").write_text(
        DRAFT.replace("study: small", "study: other").replace("before-creation", status)
    )
    words = ("--root", attacked.path, "--config-dir", study.CONF)
    for command in ("check", "register"):
        refused(study.command(command, other / "draft.yaml", *words), f"{status} is too early")


def test_after_a_launch_nobody_claims_before_creation(registered: StudyRoot) -> None:
    assert study.amend(registered, study.amended(LOWER, status="before-creation")).code == 0
    assert study.run(registered, "model=tiny", "perturbation=reverse").code == 0
    draft = study.amended(DRAFT, "v3", "before-creation")
    refused(study.amend(registered, draft), "before-observation or before-access", "a launch of small")
    done = study.withdraw(registered, "H1")
    assert (done.code, done.json["data_status"]) == (0, "before-observation"), done.err
    # Never earlier than the parent says.
    late = LOWER.replace(
        "    prediction: confirmed\n    estimands: {rise",
        "    status: withdrawn\n    prediction: confirmed\n    estimands: {rise",
    )
    assert study.amend(registered, study.amended(late, "v4", "before-analysis")).code == 0
    refused(study.amend(registered, study.amended(late, "v5", "before-observation")), "v4 declares before-analysis")
    done = study.withdraw(registered, "H2.ratio")
    assert (done.code, done.json["data_status"]) == (0, "before-analysis")
    assert study.run(registered).code == 0
    assert [one["code"] for one in verdict(registered)["deviations"]][:4] == [
        "amendment", "withdrawal", "amendment", "withdrawal"
    ]  # fmt: skip


def test_an_exploratory_launch_and_other_clips(registered: StudyRoot) -> None:
    document, view = freeze.load(registered, "small").document, ledger.read(registered)
    assert floor(registered, view, document, {})[0] == "before-creation"
    assert study.run(registered, "--exploratory", "model=tiny", "perturbation=reverse").code == 0
    view = ledger.read(registered)
    assert floor(registered, view, document, {})[0] == "before-observation"
    # Where clips are not pinned, the specification says which they are.
    entry = as_video(document.design).datasets["small"]
    unpinned = entry.model_copy(update={"clip_manifest_digest": None})
    other = unpinned.model_copy(update={"spec_digest": sha256(b"other")})
    for one, status in ((unpinned, "before-observation"), (other, "before-creation")):
        design = document.design.model_copy(update={"datasets": {"small": one}})
        assert floor(registered, view, document.model_copy(update={"design": design}), {})[0] == status


def test_amendments_to_nowhere(registered: StudyRoot, tmp_path: Path) -> None:
    nowhere = "sha256:" + "0" * 64
    early = study.amended(LOWER, status="before-creation")
    refused(study.amend(registered, early + f"parent: {nowhere}\n"), "unexpected parent", nowhere)
    refused(study.amend(registered, early.replace("version: v2", "version: v3")), "unexpected version")
    refused(study.amend(registered, early.replace("version: v2", "version: v1")), "unexpected version")
    refused(study.amend(registered, early.replace("study: small", "study: other")), "another study")
    refused(study.amend(registered, LOWER.replace("version: v1", "version: v2")), "has no block `amendment`")
    refused(study.amend(registered, early.replace("error-in-registration", "regret")), "unforeseen-event")
    empty = study.new_root(tmp_path / "empty")
    refused(study.amend(empty, early), "the study small is not registered in this study root")
    (empty.prereg / "small" / "draft.yaml").write_text(early)
    checked = study.command("check", empty.prereg / "small" / "draft.yaml", "--config-dir", study.CONF)
    refused(checked, "the study small is not registered in this study root")
    refused(study.register(empty), "cannot be a first registration")
    (empty.prereg / "small" / "draft.yaml").write_text(early + f"parent: {nowhere}\n")
    refused(study.register(empty), "the parent of the amendment does not exist")
    assert events(registered) == ["registered"]
    assert not empty.ledger.exists()
    (registered.prereg / "small" / "draft.yaml").write_text(LOWER)
    refused(study.register(registered), "vjepa-stress amend small FILE")


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("claim: M2 rises with noise.", "claim: M2 falls with noise.", "two claims have the hypothesis id H1"),
        ("H1", "H7", "H1 is missing"),
        ("version: v1", "version: v1\nsensitivity: []", ""),
    ],
)
def test_an_id_stands_for_one_claim(registered: StudyRoot, old: str, new: str, text: str) -> None:
    done = study.amend(registered, study.amended(DRAFT.replace(old, new), status="before-creation"))
    if text:
        refused(done, text)
        assert events(registered) == ["registered"]
    else:
        assert done.code == 0


def test_an_id_is_not_used_again_after_its_withdrawal(registered: StudyRoot) -> None:
    assert study.withdraw(registered, "H1").code == 0
    withdrawn = DRAFT.replace("id: H1\n", "id: H1\n    status: withdrawn\n")
    other = withdrawn.replace("claim: M2 rises with noise.", "claim: M2 falls with noise.")
    refused(study.amend(registered, study.amended(other, "v3", "before-creation")), "two claims have")
    documents = [edition.document for edition in freeze.load(registered, "small").lineage]
    with pytest.raises(NoSuccessor, match="must stay withdrawn"):
        check_claims(documents, documents[0])
    hypotheses = tuple(one.model_copy(update={"claim": "Another."}) for one in documents[1].hypotheses)
    with pytest.raises(DuplicateIdentifier):
        check_claims(documents, documents[1].model_copy(update={"hypotheses": hypotheses}))


def test_a_draft_of_an_amendment_can_be_checked(registered: StudyRoot) -> None:
    path = registered.prereg / "small" / "next.yaml"
    path.write_text(study.amended(LOWER))
    assert study.command("check", path, "--config-dir", study.CONF).code == 0
    path.write_text(study.amended(LOWER, "v3"))
    refused(study.command("check", path, "--config-dir", study.CONF), "unexpected version")


def test_a_disagreement_between_two_writers(registered: StudyRoot) -> None:
    """The second of two amendments that were made from one parent is refused."""
    assert study.withdraw(registered, "H1").code == 0
    late = freeze.from_bytes(registered.document("small", "v2").read_bytes(), "v2")
    assert study.withdraw(registered, "H2.ratio").code == 0
    with pytest.raises(NoSuccessor):
        freeze.extend(registered, late, {})
    early = late.model_copy(update={"version": "v4", "parent": freeze.load(registered, "small").digest})
    with pytest.raises((StatusTooEarly, NoSuccessor)):
        freeze.extend(registered, early, {})


def test_what_was_registered_before_amendments_existed_stays_what_it_is() -> None:
    data = (PROJECT / "prereg/demo/v1.json").read_bytes()
    document = freeze.from_bytes(data, "v1.json")
    assert freeze.to_bytes(document) == data
    assert b'"amendment"' not in data
    assert changes(document, document) == ()
    for hypothesis in document.hypotheses:
        assert hypothesis.rest == hypothesis.rule == hypothesis.rule.remaining(())


def test_the_demo_ships_its_whole_lineage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = prepare(tmp_path / "demo")
    from vjepa_stress.prereg.withdraw import withdraw

    withdraw(made, "demo", "H1", why="To see whether it ships.")
    monkeypatch.setattr("vjepa_stress.sweep.demo.shipped", lambda _: made.prereg)
    root = prepare(tmp_path / "again")
    assert events(root) == events(made)
    assert events(root)[-1] == "withdrawn"
    assert prepare(tmp_path / "again") == root
    assert events(root) == events(made)
    assert freeze.load(root, "demo").digest == freeze.load(made, "demo").digest


WITHDRAWN = DRAFT.replace(
    "    rule:\n      kind: all_of\n", "    withdrawn: [ratio]\n    rule:\n      kind: all_of\n"
)
# The same number in other words: the only model that is a subject, named.
RENAMED = """      again:
        statistic: ratio_of_means
        metric: M2
        numerator: {model: [tiny], perturbation: [gaussian_noise], strength: [1.0]}
        denominator: {perturbation: [frame_drops], strength: [1.0]}
"""


@pytest.mark.parametrize(
    ("draft", "text"),
    [
        (WITHDRAWN, ""),
        (DRAFT.replace("ratio:", "again:").replace("estimand: ratio,", "estimand: again,"), "H2.ratio withdrawn"),
        (
            WITHDRAWN.replace("    withdrawn", f"{RENAMED}    withdrawn").replace(
                "{kind: threshold, estimand: ratio,",
                "{kind: band, estimand: again, low: 0.01, high: 2.0, rationale: as before}\n        "
                "- {kind: threshold, estimand: ratio,",
            ),
            "the same number as H2.ratio",
        ),
        (WITHDRAWN.replace("[frame_drops], strength: [1.0]", "[frame_drops], strength: [0.6]"), "H2.ratio withdrawn"),
    ],
    ids=["unchanged", "renamed", "beside itself", "redefined"],
)
def test_what_was_withdrawn_comes_back_under_no_name(registered: StudyRoot, draft: str, text: str) -> None:
    assert study.withdraw(registered, "H2.ratio").code == 0
    done = study.amend(registered, study.amended(draft, "v3", "before-creation"))
    if text:
        refused(done, "must stay withdrawn", text)
    else:
        assert done.code == 0, done.err


def test_other_frames_of_a_known_source_are_known_data(registered: StudyRoot) -> None:
    assert study.run(registered, "model=tiny", "perturbation=reverse").code == 0
    draft = study.amended(DRAFT.replace("frames: 16", "frames: 14"), status="before-creation")
    refused(study.amend(registered, draft), "before-creation is too early", "a launch of small")
