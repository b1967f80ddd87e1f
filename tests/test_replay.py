"""The published numbers under the rules of the replication, and the ten lines of the library page."""

import ast
import math
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from scipy import stats

from tests.small import study
from vjepa_stress.encoders.released import SIZES
from vjepa_stress.prereg import freeze
from vjepa_stress.rules.monotone_pooled import MonotonePooled
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.draft import read_draft
from vjepa_stress.verdict.judge import judge

PROJECT = Path(__file__).parents[1]


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(PROJECT / "docs"))
    import replay

    return replay


def test_the_published_outcome(replay: ModuleType) -> None:
    outcomes = {name: verdict.outcome for name, verdict in replay.replay().items()}
    assert outcomes == {
        "C1": "confirmed",
        "H2": "confirmed",
        "H3": "refuted",
        "H4": "refuted",
        "H5": "confirmed",
        "H6": "refuted",
    }
    counted = replay.replay()["H4"].numbers
    assert (counted["n_refuted"], counted["n"]) == (5, 5)


@pytest.mark.parametrize("half_width", [1e-9, 0.003, 0.0212, 1.0, 1e6])
@pytest.mark.parametrize("published", ["in_half_widths", "every_curve_at_least"])
def test_h4_is_refuted_whatever_the_half_width(replay: ModuleType, half_width: float, published: str) -> None:
    noise = replay.PUBLISHED["numbers_of_rules"]["H4"]["noise"]
    rule = MonotonePooled(
        kind="monotone_pooled", estimand="curve", order="falling", noise=noise, rationale="as published"
    )
    found = replay.PUBLISHED["scaling"][published]
    curve = replay.curve(found, half_width)
    assert judge(rule, {"curve": curve}).outcome == "refuted"
    # No other change of the curve matters.
    fall = curve.steps[0].model_copy(update={"value": -1e9 * half_width})
    steep = curve.model_copy(update={"steps": (fall, curve.steps[1], fall), "overall": fall})
    assert judge(rule, {"curve": steep}).outcome == "refuted"
    flat = replay.curve(noise, half_width)
    assert judge(rule, {"curve": flat}).outcome == "ambiguous"


def test_the_half_widths_of_the_curves(replay: ModuleType) -> None:
    implied, independent, equal = replay.scaling()
    assert implied == pytest.approx(0.017 / 5.7)
    assert independent == pytest.approx(0.015 * math.sqrt(2) / math.sqrt(10))
    assert equal == pytest.approx(0.015 * math.sqrt(2))
    # With the pooled half-width of independent strengths the jump would be 2.5 half-widths, not the published 5.7.
    assert 0.017 / independent == pytest.approx(2.53, abs=0.01)


def test_numbers_of_rules_are_published_or_reconstructed(replay: ModuleType) -> None:
    numbers = {(one.hypothesis, one.kind, one.name, one.value): one.published for one in replay.rule_numbers()}
    assert not any(published for (name, *_), published in numbers.items() if name == "H1")
    assert {name for name, *_ in numbers} >= {"H1", "H2", "H3", "H4", "H5", "H6"}
    for hypothesis, kind, name, value, published in (
        ("H1", "count", "confirm_at_least", 18, False),
        ("H1", "count", "refute_at_least", 6, False),
        ("H3", "threshold", "confirm_at", 0.3, True),
        ("H4", "count", "confirm_at_least", 4, False),
        ("H4", "count", "refute_at_least", 3, False),
        ("H5", "threshold", "confirm_at", 1.2, False),
        ("H5", "threshold", "refute_at", 1.0, False),
        ("H5", "count", "confirm_at_least", 3, True),
        ("H6", "threshold", "confirm_at", 0.5, True),
        ("H6", "threshold", "refute_at", 0.3, True),
    ):
        assert numbers[hypothesis, kind, name, value] is published
    # Every number that is listed as published is in a rule.
    used = {(one.hypothesis, one.name, one.value) for one in replay.rule_numbers() if one.published}
    listed = replay.PUBLISHED["numbers_of_rules"].items()
    assert used == {(hypothesis, name, value) for hypothesis, one in listed for name, value in one.items()}


def test_noise_dominates_at_all_ten_strengths(replay: ModuleType) -> None:
    above = replay.PUBLISHED["noise_above_drops"]
    (h5,) = (one for one in replay.DRAFT["hypotheses"] if one["id"] == "H5")
    counts = [part for part in h5["rule"]["of"] if part["kind"] == "count"]
    assert len(counts) == above["strengths"] == 10
    assert {(part["confirm_at_least"], len(part["of"])) for part in counts} == {
        (above["models_at_least"], above["of"])
    }


def test_the_published_criterion_of_separability(replay: ModuleType) -> None:
    gap = replay.gap()
    assert (gap.low_of, gap.high_of) == ("occlusion", "motion_blur")
    assert gap.printed == pytest.approx(0.278 - 0.171)
    # The printed ends are rounded; the recomputed ones give the published gap.
    assert round(gap.recomputed, 3) == replay.PUBLISHED["separability_gap"] == 0.106


def test_how_much_dependence_separability_tolerates(replay: ModuleType) -> None:
    rows, needs = replay.PUBLISHED["correlations"], replay.dependence()
    r, s = rows["occlusion"]["r"], rows["motion_blur"]["r"]
    z = stats.norm.ppf(0.975)
    n = needs["intervals apart"].pairs
    assert math.tanh(math.atanh(r) - z / math.sqrt(n - 3)) == pytest.approx(
        math.tanh(math.atanh(s) + z / math.sqrt(n - 3))
    )
    n = needs["difference"].pairs
    assert (math.atanh(r) - math.atanh(s)) / math.sqrt(2 / (n - 3)) == pytest.approx(z)
    for one in needs.values():  # the design effect of 20 pairs of a clip
        assert 600 / (1 + 19 * one.within_clip) == pytest.approx(one.pairs)


def test_intervals_of_reversal_overlap_unless_clips_hardly_differ(replay: ModuleType) -> None:
    back = replay.reversal()
    expected = stats.norm.interval(0.95, loc=1.020, scale=0.036 / math.sqrt(30))
    assert (back.low, back.high) == pytest.approx(expected)
    for mean, sd in back.largest_sd.items():
        low, _ = stats.norm.interval(0.95, loc=mean, scale=sd / math.sqrt(200))
        assert low == pytest.approx(back.high)
        assert sd < 0.03
        assert back.sd_of_cells > 3 * sd
    assert set(back.largest_sd) == {1.034, 1.037}
    for half_width in replay.PUBLISHED["half_width_of_cell_means"].values():
        assert 1.037 - half_width < back.high


def test_every_decimal_of_the_page_is_generated(replay: ModuleType) -> None:
    page = (replay.HERE / "replay.md").read_text()
    written = re.sub(r"<!-- .*?<!-- end -->", "", page, flags=re.DOTALL)
    # The version of the model; margin and α of the rule for small correlations.
    assert set(re.findall(r"\d+\.\d+", written)) <= {"2.1", "0.15", "0.025"}


def test_the_six_fisher_intervals(replay: ModuleType) -> None:
    ends = replay.fisher_ends()
    assert len(ends) == 6
    for name, (low, high) in ends.items():
        row = replay.PUBLISHED["correlations"][name]
        assert low == pytest.approx(row["low"], abs=1e-3)
        assert high == pytest.approx(row["high"], abs=1e-3)


def test_small_correlations_are_judged_by_two_one_sided_tests(replay: ModuleType) -> None:
    outcomes = {name: replay.small_enough(name).outcome for name in ("low_light", "gaussian_noise", "motion_blur")}
    assert outcomes == {"low_light": "confirmed", "gaussian_noise": "confirmed", "motion_blur": "ambiguous"}


def test_the_replication_has_322_cells() -> None:
    blocks = read_draft(PROJECT / "prereg/vjepa21/draft.yaml").design.cells
    sizes = [math.prod(len(listed) for listed in block.model_dump().values() if listed) for block in blocks]
    assert sizes == [200, 100, 12, 8, 2]
    assert sum(sizes) == 322


SCORES = """episode,condition,success
b,dry,0.9
a,dry,0.8
c,dry,1.0
a,rain,0.7
c,rain,0.9
b,rain,0.8
"""


def library_page() -> list[str]:
    """The examples of the page."""
    return re.findall(r"```python\n(.*?)```", (PROJECT / "docs/library.md").read_text(), re.DOTALL)


def test_the_dependence_of_the_library_page(finished: StudyRoot) -> None:
    _, code = library_page()
    script = code.replace('"pilot"', '"small"')
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=finished.path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    numbers = ast.literal_eval(done.stdout)
    assert set(numbers["M2"]) >= {"model", "perturbation", "strength"}
    assert all(0 <= number <= 1 for one in numbers.values() for number in one.values())


def test_the_ten_lines_of_the_library_page(tmp_path: Path) -> None:
    code, _ = library_page()
    assert len(re.sub(r"(?m)^(import|from) .*\n|^\n", "", code).splitlines()) <= 10
    (tmp_path / "scores.csv").write_text(SCORES)
    script = f"{code}\nimport sys\nassert not {{'torch', 'hydra'}} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "confirmed"
    assert "rain = 0.8" in lines[2]


def test_a_run_of_the_replication_names_everything_that_is_missing(tmp_path: Path) -> None:
    done = study.command("run", "--root", PROJECT, "vjepa21", f"exec.weights={tmp_path}")
    assert done.code == 2
    places = "exec.data={davis: ", "exec.data={ssv2: ", "labels/validation.json", "ImageSets/2017/val.txt"
    for part in ("data set davis", "data set ssv2", *places, *(f"vjepa-stress fetch {size}" for size in SIZES)):
        assert part in done.err


def test_wrong_folders_are_named_with_everything_that_is_missing(tmp_path: Path) -> None:
    wrong = f"exec.data={{davis: {tmp_path}, ssv2: {tmp_path}}}"
    done = study.command("run", "--root", PROJECT, "vjepa21", f"exec.weights={tmp_path}", wrong)
    assert done.code == 2
    for part in ("not the folder of DAVIS", "not the folder of Something", *(f"fetch {size}" for size in SIZES)):
        assert part in done.err


def test_the_replica_is_registered_without_its_ill_posed_part() -> None:
    registration = freeze.load(StudyRoot(PROJECT), "vjepa21")
    assert len(registration.document.design.cells) == 322
    (h2,) = (one for one in registration.document.hypotheses if one.id == "H2")
    assert "M1" not in h2.estimands
    assert h2.rest is not None
    assert {leaf.estimand for leaf in h2.rest.leaves()} == {f"M2_{size}" for size in SIZES}
