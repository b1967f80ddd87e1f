"""Simulation of the operating characteristics of a draft."""

from __future__ import annotations

from typing import Any

from vjepa_stress.errors import BadDocument
from vjepa_stress.ledger import Viewed
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.scenarios import Pilot, Plan
from vjepa_stress.prereg.schema import validate
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.gate import gate
from vjepa_stress.verdict.power import operating_characteristics
from vjepa_stress.verdict.table import Table


def read_plan(plan: Any) -> Plan:
    """The scenarios of a draft.

    Args:
        plan: the scenarios, as read from the draft.

    Raises:
        BadDocument: when a field is missing or invalid.
    """
    return validate(Plan, plan, "operating_characteristics")


def with_chances(document: Preregistration, plan: Plan, root: StudyRoot, workers: int = 1) -> Preregistration:
    """Simulate the scenarios of a draft and add the chances to its document.

    Args:
        document: the resolved document.
        plan: the scenarios.
        root: the study root, which has the pilot studies.
        workers: number of processes; the result does not depend on it.

    Raises:
        BadDocument: when a scenario does not fit the document, or its pilot has another document or attempt.
    """
    pilots = {name: _pilot(root, one) for name, one in plan.scenarios.items() if isinstance(one, Pilot)}
    chances = operating_characteristics(document, plan, pilots, workers)
    value = document.model_dump(mode="json", by_alias=True)
    value["operating_characteristics"] = chances.model_dump(mode="json")
    return validate(Preregistration, value, f"draft of {document.study}")


def _pilot(root: StudyRoot, scenario: Pilot) -> Table:
    evidence = gate(root, scenario.study)
    # A simulation from the data of a pilot is a look at them.
    if not evidence.registration.ledger.of(scenario.study, Viewed):
        raise BadDocument(
            "the ledger has no look at the results of the pilot",
            where=scenario.study,
            expected="a logged look at its results",
            found="none",
            fix=f"log a look at the pilot first: vjepa-stress verdict {scenario.study}",
        )
    found = (evidence.registration.digest, evidence.attempt)
    if found != (scenario.document, scenario.attempt):
        raise BadDocument(
            "the pilot has another document or attempt than the scenario names",
            where=scenario.study,
            expected=f"{scenario.document}, attempt {scenario.attempt}",
            found=f"{found[0]}, attempt {found[1]}",
            fix="write the found values as `document` and `attempt` of the scenario, or restore the pilot",
        )
    return evidence.table
