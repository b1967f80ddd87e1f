"""A registered study that no run has touched: registering takes longer than copying."""

import pytest

from tests.small import study
from vjepa_stress.study_root import StudyRoot


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> StudyRoot:
    """The study of `lean`, registered and not run."""
    return study.registered(tmp_path_factory.mktemp("untouched") / "root")
