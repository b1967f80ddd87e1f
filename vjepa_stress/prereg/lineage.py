"""A study's documents in order: the one registered, and every amendment and withdrawal after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from vjepa_stress.digest import Digest, canonical_json
from vjepa_stress.errors import DuplicateIdentifier, NoSuccessor
from vjepa_stress.ledger.log import Leaf
from vjepa_stress.prereg.document import Cell, Hypothesis, Preregistration, fits, meaning


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
    leaf: Leaf


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
                todo=f"amend the newest document, {parent.version}, with {next_version(parent.version)}",
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
                    todo=f"keep {old.id}, with `status: withdrawn` if it shall not be judged",
                )
            if new.claim != old.claim:
                raise DuplicateIdentifier(
                    f"the id {old.id} stands for two claims",
                    where=f"{document.version}",
                    expected=f"{old.claim} ({before.version})",
                    found=new.claim,
                    todo=f"withdraw {old.id}, and give the new claim an id of its own",
                )
            if new.status != "withdrawn":
                _check_withdrawn(before, old, document, new)
            elif before is earlier[-1] and (new.estimands, new.rule) != (old.estimands, old.rule):
                raise NoSuccessor(
                    "a withdrawn hypothesis stays as it was defined",
                    where=f"{document.version}, {old.id}",
                    expected=f"its estimands and rule as in {before.version}",
                    found="changed",
                    todo="keep them as they were; to claim something else, take another hypothesis id",
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
            todo="keep it as it was; to claim it anew, take another hypothesis id",
        )
    gone = {meaning(document.design, new.estimands[name]): name for name in old.withdrawn}
    for name, estimand in new.estimands.items():
        known = gone.get(meaning(document.design, estimand))
        # Two names for one number from the start are no return of it.
        unchanged = old.estimands.get(name) == estimand
        if known and name not in new.withdrawn and not unchanged:
            raise NoSuccessor(
                "what was withdrawn stays withdrawn",
                where=f"{document.version}, {new.id}.{name}",
                expected=f"another number than {new.id}.{known}, withdrawn in {before.version} or earlier",
                found=f"the same number as {new.id}.{known}",
                todo="claim it anew under another hypothesis id",
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
            return fits(design, estimand) and meaning(design, estimand) == meaning(then, estimand)
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


def changes(old: Preregistration, new: Preregistration) -> tuple[str, ...]:
    """What differs between two documents, found by comparing them."""
    found: list[str] = []
    for hypothesis in new.hypotheses:
        found += hypothesis_changes(find(old, hypothesis.id), hypothesis)
    found += cell_changes(old.design.cells, new.design.cells)
    found += differences("design", _plain(old.design, "cells"), _plain(new.design, "cells"))
    found += differences("", _plain(old, *_ELSEWHERE), _plain(new, *_ELSEWHERE))
    return tuple(found)


def hypothesis_changes(old: Hypothesis | None, new: Hypothesis) -> Iterator[str]:
    """What differs between a hypothesis and an earlier one with its id, if there is one."""
    if old is None:
        yield f"{new.id} is new"
        return
    if (old.status, new.status) == ("active", "withdrawn"):
        yield f"{new.id} withdrawn"
    for name in new.withdrawn:
        if name not in old.withdrawn:
            yield f"{new.id}.{name} withdrawn"
    yield from differences(new.id, *(_plain(one, "status", "withdrawn") for one in (old, new)))


def cell_changes(old: Iterable[Cell], new: Iterable[Cell]) -> Iterator[str]:
    """Which cells were added and removed."""
    before, after = set(old), set(new)
    yield from _cells("added", after - before)
    yield from _cells("removed", before - after)


# Tables of simulated outcomes follow from the rest; that they differ is said without them.
_ELSEWHERE = (*_OF_THE_RECORD, "schema_", "hypotheses", "design", "operating_characteristics")


def _plain(model: Any, *left_out: str) -> Any:
    return model.model_dump(mode="json", exclude=set(left_out))


def _cells(what: str, cells: set[Cell]) -> Iterator[str]:
    if cells:
        named = ", ".join(str(cell) for cell in sorted(cells, key=Cell.order)[:5])
        yield f"{len(cells)} cells {what}: {named}{', …' if len(cells) > 5 else ''}"


def differences(where: str, old: Any, new: Any) -> Iterator[str]:
    """Where two JSON values differ; what is of another kind is shown whole, before and after."""
    same_kind = isinstance(old, dict) and isinstance(new, dict) and _kind(old) == _kind(new)
    if same_kind:
        for key in [*old, *(key for key in new if key not in old)]:
            if key != "spec_digest":  # it differs where the spec beside it does
                yield from differences(f"{where}.{key}" if where else key, old.get(key), new.get(key))
    elif old != new:
        yield f"{where}: {_shown(old)} → {_shown(new)}"


def _kind(value: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value.get(key) for key in ("kind", "statistic"))


def _shown(value: Any) -> str:
    return "nothing" if value is None else canonical_json(value).decode()
