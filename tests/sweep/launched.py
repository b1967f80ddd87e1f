"""A logged launch in this process, for tests of what jobs do."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from tests.small import study
from vjepa_stress.prereg import freeze
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.sweep.bind import ExecConfig
from vjepa_stress.sweep.launch import Launch
from vjepa_stress.sweep.plan import prepare
from vjepa_stress.sweep.request import read_request

EXEC = ExecConfig(device="cpu", threads=1, weights=Path("weights"))


def launched(root: StudyRoot, *overrides: str) -> Launch:
    """Plan and log a launch. Its process counts as ended, so that another one can be planned."""
    request = read_request(overrides, study.CONF, root)
    with ExitStack() as signs:
        launch, _ = prepare(root, freeze.load(root, "small"), request.cell_filter, request.blocks, EXEC, signs)
    assert launch is not None
    return launch


def varied(launch: Launch, **fields: object) -> Launch:
    """A launch with other fields, and nothing computed from the former ones."""
    return Launch.model_validate({**launch.model_dump(by_alias=True), **fields})
