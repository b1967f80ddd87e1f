"""Withdrawal of a hypothesis or of one of its estimands. The next document is a copy of the newest one without it."""

from __future__ import annotations

from vjepa_stress.digest import Digest
from vjepa_stress.errors import BadInput, NoSuccessor
from vjepa_stress.fields import DataStatus, Reason, now
from vjepa_stress.ledger import Checkpoint
from vjepa_stress.prereg import data_status, freeze
from vjepa_stress.prereg.document import Amendment, Hypothesis, Preregistration
from vjepa_stress.prereg.lineage import Edition, find, next_version
from vjepa_stress.study_root import StudyRoot


def withdraw(
    root: StudyRoot,
    study: str,
    hypothesis: str,
    *,
    why: str,
    reason: Reason = "error-in-registration",
    severity: str | None = None,
    validity: str | None = None,
) -> tuple[Preregistration, Digest, Checkpoint]:
    """Withdraw a hypothesis, such as `H2`, or one of its estimands, such as `H2.M1`. The rest of its rule is judged.

    Args:
        root: the study root.
        study: its name.
        hypothesis: the hypothesis or estimand to withdraw.
        why: what is withdrawn and why, in the authors' words.
        reason: category of the reason.
        severity, validity: effect on the severity of the tests and on the validity of the conclusions. The default
            is the effect that follows from the rule.

    Returns:
        The new document, its digest and the checkpoint. Its data status is the earliest that the ledger allows.

    Raises:
        BadInput: when a text is empty.
        NoSuccessor: when there is no such hypothesis or estimand, or no rule would be left.
        Tampered: when the documents of the study cannot be verified.
    """
    for option, text in (("why", why), ("severity", severity), ("validity", validity)):
        if text is not None and not text.strip():
            raise BadInput(
                "a withdrawal needs a description",
                where=f"--{option}",
                found=repr(text),
                expected="some text",
                fix=f"write a sentence after --{option}",
            )
    registration = freeze.load(root, study)
    parent = registration.lineage[-1]
    name, _, estimand = hypothesis.partition(".")
    new = _without(parent.document, name, estimand)
    if estimand:
        read = ", ".join(sorted({leaf.estimand for leaf in new.rest.leaves()})) if new.rest else "nothing"
        default = f"Only the rest of its rule decides {name}; it reads {read}."
    else:
        default = f"{name} is no longer tested."
    amendment = Amendment(
        changes=why,
        reason=reason,
        severity=severity or default,
        validity=validity or f"Nothing can be concluded from {hypothesis}.",
    )
    lowest, _ = data_status.floor(root, registration.ledger, parent.document, {})
    status = data_status.latest(lowest, parent.document.data_status)
    document = _next(parent, new, amendment, status)
    return document, *freeze.extend(root, document, {})


def _next(parent: Edition, new: Hypothesis, amendment: Amendment, status: DataStatus) -> Preregistration:
    document = parent.document
    return document.model_copy(
        update={
            "version": next_version(document.version),
            "created": now(),
            "data_status": status,
            "parent": parent.digest,
            "amendment": amendment,
            "hypotheses": tuple(new if one.id == new.id else one for one in document.hypotheses),
        }
    )


def _without(document: Preregistration, name: str, estimand: str) -> Hypothesis:
    old = find(document, name)
    if old is None or old.status == "withdrawn":
        state = "there is no such hypothesis" if old is None else "it is already withdrawn"
        raise NoSuccessor(
            f"{name} cannot be withdrawn: {state}",
            where=f"{document.study} {document.version}",
            expected=", ".join(h.id for h in document.hypotheses if h.status == "active"),
            found=name,
            fix="name an active hypothesis",
        )
    if not estimand:
        return old.model_copy(update={"status": "withdrawn"})
    active = [one for one in old.estimands if one not in old.withdrawn]
    if estimand not in active:
        raise NoSuccessor(
            f"{name} has no active estimand {estimand!r}",
            where=f"{document.study} {document.version}",
            expected=", ".join(active),
            found=estimand,
            fix="name an active estimand",
        )
    withdrawn = (*old.withdrawn, estimand)
    try:
        left, found = old.rule.remaining(withdrawn), "its rule reads nothing else"
    except ValueError as error:
        left, found = None, str(error)
    if left is None:
        raise NoSuccessor(
            f"{name}.{estimand} cannot be withdrawn alone",
            where=f"the rule of {name}",
            found=found,
            fix=f"withdraw the whole of {name}, or restate its rule: vjepa-stress amend {document.study} FILE",
        )
    return old.model_copy(update={"withdrawn": withdrawn})
