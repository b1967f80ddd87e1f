"""`vjepa-stress dependence`: what it prints can be pasted into a draft, and it logs a look."""

from __future__ import annotations

import pytest
import yaml

from tests.small import study
from vjepa_stress import ledger
from vjepa_stress.ledger import Viewed
from vjepa_stress.prereg.scenarios import Given
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.dependence import estimate_dependence
from vjepa_stress.verdict.gate import gate


def test_it_prints_lines_for_a_scenario_and_logs_a_look(attacked: StudyRoot) -> None:
    looks = len(ledger.read(attacked).of("small", Viewed))
    done = study.command("dependence", "small", "--root", attacked.path)
    assert done.code == 0, done.err
    assert len(ledger.read(attacked).of("small", Viewed)) == looks + 1
    evidence = gate(attacked, "small")
    design = evidence.registration.document.design
    expected = {metric: estimate_dependence(evidence.table, design, metric) for metric in design.columns}
    as_json = study.command("dependence", "small", "--json", "--root", attacked.path).json
    assert as_json == {"study": "small", "dependence": expected}
    pasted = yaml.safe_load(done.out)["dependence"]
    assert pasted == {
        metric: {factor: pytest.approx(number, abs=0.005) for factor, number in numbers.items()}
        for metric, numbers in expected.items()
    }
    effects = [{"metric": "M2", "where": {}, "mean": 0.5, "sd": 0.1}]
    Given.model_validate({"kind": "given", "says": "as in the pilot", "effects": effects, "dependence": pasted})
    # A factor in which cells of a clip differ is printed, or named as undetermined.
    for metric, numbers in expected.items():
        for factor in ("perturbation", "strength"):
            assert factor in numbers or f"notice: {metric}: these results do not determine {factor}" in done.err


def test_it_reads_only_complete_results(attacked: StudyRoot) -> None:
    cells = study.outputs(attacked) / "attempts/1/cells"
    next(cells.glob("*/shard.parquet")).unlink()
    refused = study.command("dependence", "small", "--root", attacked.path)
    assert refused.code != 0
    assert "dependence:" not in refused.out
