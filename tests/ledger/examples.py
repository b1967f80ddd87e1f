"""Events to append in tests."""

from vjepa_stress import ledger
from vjepa_stress.digest import sha256
from vjepa_stress.ledger import Checkpoint, Viewed
from vjepa_stress.study_root import StudyRoot


def look(root: StudyRoot, number: int = 0) -> Checkpoint:
    """Append a look at a file whose digest depends on the number."""
    _, checkpoint = ledger.append(
        root,
        Viewed,
        study="demo",
        document=sha256(b"document"),
        look="verdict",
        files={"verdict.json": sha256(b"%d" % number)},
        exploratory=False,
    )
    return checkpoint
