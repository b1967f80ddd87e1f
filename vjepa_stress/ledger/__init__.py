"""The ledger of a study root: typed events, one per line, in a Merkle tree."""

from vjepa_stress.ledger.checkpoint import Checkpoint
from vjepa_stress.ledger.events import (
    Amended,
    Completed,
    DocumentLeaf,
    Execution,
    Explored,
    Failed,
    Launched,
    Leaf,
    Registered,
    Revision,
    Viewed,
    Withdrawn,
)
from vjepa_stress.ledger.log import LedgerView, append, read

__all__ = [
    "Amended",
    "Checkpoint",
    "Completed",
    "DocumentLeaf",
    "Execution",
    "Explored",
    "Failed",
    "Launched",
    "Leaf",
    "LedgerView",
    "Registered",
    "Revision",
    "Viewed",
    "Withdrawn",
    "append",
    "read",
]
