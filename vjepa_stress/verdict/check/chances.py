"""Operating characteristics of a draft: scenarios to simulated chances."""

from __future__ import annotations

from typing import Any

from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.scenarios import Pilot, Plan
from vjepa_stress.prereg.schema import validate
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.gate import gate
from vjepa_stress.verdict.power import operating_characteristics
from vjepa_stress.verdict.table import Table


def with_chances(document: Preregistration, plan: Any, root: StudyRoot, workers: int = 1) -> Preregistration:
    """The document with its operating characteristics, simulated now.

    Args:
        document: as resolved from its draft.
        plan: the draft's scenarios, as they were read.
        root: where the studies are that scenarios take as pilots.
        workers: processes; the result does not depend on it.

    Raises:
        BadDocument: when a scenario is no valid one, or its pilot is not the one it names.
    """
    scenarios = validate(Plan, plan, "operating_characteristics")
    pilots = {name: _pilot(root, one) for name, one in scenarios.scenarios.items() if isinstance(one, Pilot)}
    chances = operating_characteristics(document, scenarios, pilots, workers)
    value = document.model_dump(mode="json", by_alias=True)
    value["operating_characteristics"] = chances.model_dump(mode="json")
    return validate(Preregistration, value, f"draft of {document.study}")


def _pilot(root: StudyRoot, scenario: Pilot) -> Table:
    evidence = gate(root, scenario.study)
    # Simulating from a pilot's data is a look at them.
    if not any(leaf.event == "viewed" for leaf in evidence.registration.ledger.of(scenario.study)):
        raise BadDocument(
            "the results of this pilot were never looked at",
            where=scenario.study,
            expected="a logged look at its results",
            found="none",
            fix=f"look at it first, so that the look is logged: vjepa-stress verdict {scenario.study}",
        )
    found = (evidence.registration.digest, evidence.attempt)
    if found != (scenario.document, scenario.attempt):
        raise BadDocument(
            "the pilot is not the one that the scenario names",
            where=scenario.study,
            expected=f"{scenario.document}, attempt {scenario.attempt}",
            found=f"{found[0]}, attempt {found[1]}",
        )
    return evidence.table
