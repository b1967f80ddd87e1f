"""A study's documents in order: the one registered, and every amendment and withdrawal after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vjepa_stress.design import Cell
from vjepa_stress.digest import Digest
from vjepa_stress.errors import DuplicateIdentifier, NoSuccessor
from vjepa_stress.fields import Frozen
from vjepa_stress.ledger import Promise
from vjepa_stress.prereg.document import Hypothesis, Preregistration, fits


@dataclass(frozen=True)
class Edition:
    """One document of a study, its bytes verified.

    Attributes:
        document: the preregistration.
        digest: digest of its bytes.
        leaf: the leaf that logged it.
    """

    document: Preregistration
    digest: Digest
    leaf: Promise


def next_version(version: str) -> str:
    """The version after this one."""
    return f"v{int(version[1:]) + 1}"


def check_follows(parent: Preregistration, digest: Digest, document: Preregistration) -> None:
    """Refuse a document that is not the next version of its parent.

    Raises:
        NoSuccessor: saying what does not fit.
    """
    for what, expected, found in (
        ("study", parent.study, document.study),
        ("parent", digest, document.parent),
        ("version", next_version(parent.version), document.version),
    ):
        if expected != found:
            raise NoSuccessor(
                f"this document does not follow {parent.study} {parent.version}: it names another {what}",
                where=what,
                expected=expected,
                found=found,
                fix=f"amend the newest document, {parent.version}, with {next_version(parent.version)}",
            )


def check_claims(earlier: Sequence[Preregistration], document: Preregistration) -> None:
    """Refuse a document in which a hypothesis is lost, comes back, or stands for another claim than before.

    Raises:
        DuplicateIdentifier: when an id stands for two claims.
        NoSuccessor: when a hypothesis is missing, or something withdrawn is active again.
    """
    for before in earlier:
        for old in before.hypotheses:
            new = find(document, old.id)
            if new is None:
                raise NoSuccessor(
                    f"{old.id} is missing: what was registered can be withdrawn, never dropped",
                    where=f"hypotheses of {document.version}",
                    expected=f"{old.id}, as in {before.version}",
                    fix=f"keep {old.id}, with `status: withdrawn` if it shall not be judged",
                )
            if new.claim != old.claim:
                raise DuplicateIdentifier(
                    f"the id {old.id} stands for two claims",
                    where=f"{document.version}",
                    expected=f"{old.claim} ({before.version})",
                    found=new.claim,
                    fix=f"withdraw {old.id}, and give the new claim an id of its own",
                )
            if new.status != "withdrawn":
                _check_withdrawn(before, old, document, new)
            elif before is earlier[-1] and (new.estimands, new.rule) != (old.estimands, old.rule):
                raise NoSuccessor(
                    "a withdrawn hypothesis stays as it was defined",
                    where=f"{document.version}, {old.id}",
                    expected=f"its estimands and rule as in {before.version}",
                    found="changed",
                    fix="keep them as they were; to claim something else, take another hypothesis id",
                )


def _check_withdrawn(before: Preregistration, old: Hypothesis, document: Preregistration, new: Hypothesis) -> None:
    """What was withdrawn of a hypothesis stays in it, withdrawn and unchanged, and no other name brings it back."""
    lost = [
        name
        for name in old.withdrawn
        if name not in new.withdrawn or new.estimands[name] != old.estimands[name]  # withdrawn are estimands
    ]
    if old.status == "withdrawn" or lost:
        raise NoSuccessor(
            "what was withdrawn stays withdrawn",
            where=document.version,
            expected=f"{', '.join(f'{old.id}.{name}' for name in lost) or old.id} withdrawn, defined as before",
            found="active, changed or missing",
            fix="keep it as it was; to claim it anew, take another hypothesis id",
        )
    gone = {new.estimands[name].meaning(document.design): name for name in old.withdrawn}
    for name, estimand in new.estimands.items():
        known = gone.get(estimand.meaning(document.design))
        # Two names for one number from the start are no return of it.
        unchanged = old.estimands.get(name) == estimand
        if known and name not in new.withdrawn and not unchanged:
            raise NoSuccessor(
                "what was withdrawn stays withdrawn",
                where=f"{document.version}, {new.id}.{name}",
                expected=f"another number than {new.id}.{known}, withdrawn in {before.version} or earlier",
                found=f"the same number as {new.id}.{known}",
                fix="claim it anew under another hypothesis id",
            )


def as_promised(lineage: Sequence[Edition], hypothesis: Hypothesis, name: str) -> bool:
    """Whether an estimand of the newest document reads what it read when it was last to be judged.

    Of what is withdrawn, an amended design may have lost cells, or have others that the same filter selects.
    """
    design, estimand = lineage[-1].document.design, hypothesis.estimands[name]
    for edition in reversed(lineage):
        old = find(edition.document, hypothesis.id)
        if old is not None and old.status != "withdrawn" and name not in old.withdrawn:
            then = edition.document.design
            return fits(design, estimand) and estimand.meaning(design) == estimand.meaning(then)
    return False


def find(document: Preregistration, name: str) -> Hypothesis | None:
    """The hypothesis with this id."""
    return next((hypothesis for hypothesis in document.hypotheses if hypothesis.id == name), None)


def is_withdrawal(old: Preregistration, new: Preregistration) -> bool:
    """Whether a document does nothing to its parent but withdraw."""

    def promised(document: Preregistration) -> Preregistration:
        active = [h.model_copy(update={"status": "active", "withdrawn": ()}) for h in document.hypotheses]
        return document.model_copy(update={"hypotheses": tuple(active), **dict.fromkeys(_OF_THE_RECORD)})

    return promised(old) == promised(new) and old.hypotheses != new.hypotheses


_OF_THE_RECORD = ("version", "created", "data_status", "parent", "amendment")
"""Fields that differ in every amendment, and are shown beside its changes."""


class Change(Frozen):
    """One difference between two documents.

    Attributes:
        path: where: a hypothesis, an estimand, or a dotted path of fields.
        kind: what happened to it.
        before, after: JSON values; of cells that were added or removed, their names.
    """

    path: str
    kind: Literal["new", "withdrawn", "added", "removed", "changed", "active-again", "not-there", "invalid"]
    before: Any = None
    after: Any = None


def changes(old: Preregistration, new: Preregistration) -> tuple[Change, ...]:
    """What differs between two documents, found by comparing them."""
    found: list[Change] = []
    for hypothesis in new.hypotheses:
        found += hypothesis_changes(find(old, hypothesis.id), hypothesis)
    found += cell_changes(old.design.cells, new.design.cells)
    found += differences("design", _plain(old.design, "cells"), _plain(new.design, "cells"))
    found += differences("", _plain(old, *_ELSEWHERE), _plain(new, *_ELSEWHERE))
    return tuple(found)


def changed_paths(old: Preregistration, new: Preregistration) -> tuple[str, ...]:
    """Paths of what differs between two documents, each once."""
    return tuple(dict.fromkeys(change.path for change in changes(old, new)))


def hypothesis_changes(old: Hypothesis | None, new: Hypothesis) -> Iterator[Change]:
    """What differs between a hypothesis and an earlier one with its id, if there is one."""
    if old is None:
        yield Change(path=new.id, kind="new")
        return
    if (old.status, new.status) == ("active", "withdrawn"):
        yield Change(path=new.id, kind="withdrawn")
    for name in new.withdrawn:
        if name not in old.withdrawn:
            yield Change(path=f"{new.id}.{name}", kind="withdrawn")
    yield from differences(new.id, *(_plain(one, "status", "withdrawn") for one in (old, new)))


def cell_changes(old: Iterable[Cell], new: Iterable[Cell]) -> Iterator[Change]:
    """Which cells were added and removed."""
    before, after = set(old), set(new)
    if added := after - before:
        yield Change(path="design.cells", kind="added", after=_names(added))
    if removed := before - after:
        yield Change(path="design.cells", kind="removed", before=_names(removed))


# Tables of simulated outcomes follow from the rest; that they differ is said without them.
_ELSEWHERE = (*_OF_THE_RECORD, "schema_", "hypotheses", "design", "operating_characteristics")


def _plain(model: Any, *left_out: str) -> Any:
    return model.model_dump(mode="json", exclude=set(left_out))


def _names(cells: Iterable[Cell]) -> list[str]:
    return [str(cell) for cell in sorted(cells, key=Cell.order)]


def differences(path: str, old: Any, new: Any) -> Iterator[Change]:
    """Where two JSON values differ; what is of another kind is one change, before and after."""
    same_kind = isinstance(old, dict) and isinstance(new, dict) and _kind(old) == _kind(new)
    if same_kind:
        for key in [*old, *(key for key in new if key not in old)]:
            if key != "spec_digest":  # it differs where its spec does
                yield from differences(f"{path}.{key}" if path else key, old.get(key), new.get(key))
    elif old != new:
        yield Change(path=path, kind="changed", before=old, after=new)


def _kind(value: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value.get(key) for key in ("kind", "statistic"))
