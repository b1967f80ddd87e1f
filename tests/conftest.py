"""Shapes are checked while testing: every annotated tensor argument and result, on every call."""

from jaxtyping import install_import_hook

# Before anything of the package is imported; the judging half has no tensors.
CHECKED = ("interfaces", "data", "perturb", "encoders", "metrics", "training")
install_import_hook([f"vjepa_stress.{part}" for part in CHECKED], "beartype.beartype")

from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from tests.small import study  # noqa: E402
from vjepa_stress.study_root import StudyRoot  # noqa: E402

# The same examples every time: what passed here passes there. To look further: pytest --hypothesis-profile=default.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")

# Tests run small models; with more threads they would mostly wait for each other on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> StudyRoot:
    """A finished small study; tests that change it take a copy."""
    return study.finished(tmp_path_factory.mktemp("finished") / "root")


@pytest.fixture(scope="session")
def lean(tmp_path_factory: pytest.TempPathFactory) -> StudyRoot:
    """A finished study with the cells of the small one on three clips, for tests that run it again."""
    return study.finished(tmp_path_factory.mktemp("lean") / "root", study.calibration("few"))


@pytest.fixture
def attacked(finished: StudyRoot, tmp_path: Path) -> StudyRoot:
    """A copy of the finished study, to be attacked."""
    return study.copied(finished, tmp_path / "attacked")
