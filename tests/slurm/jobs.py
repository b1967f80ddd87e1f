"""Start runs whose jobs die."""

import os
import signal
import time
from contextlib import suppress

from pydantic import ValidationError

from tests.small import study
from vjepa_stress.records.life import Sign
from vjepa_stress.study_root import StudyRoot


def killed_job(root: StudyRoot, *words: str) -> tuple[study.Done, float]:
    """Start the real command, and kill its first job as soon as it works; and the seconds from there to the end."""
    process = study.start(
        "run", "--root", root.path, "small", "--config-dir", study.CONF, "exec.threads=1", "--json", *words
    )
    killed = None
    while killed is None and process.poll() is None:
        for path in root.path.rglob("launches/*/jobs/*.json"):
            with suppress(OSError, ValidationError):
                sign = Sign.model_validate_json(path.read_bytes())
                os.kill(sign.process, signal.SIGKILL)
                killed = time.monotonic()
                break
        time.sleep(0.01)
    out, err = process.communicate(timeout=120)
    assert killed is not None, err
    return study.Done(process.returncode, out, err), time.monotonic() - killed
