"""The documents of a study in order: the first registration, then all amendments and withdrawals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vjepa_stress.design import Cell
from vjepa_stress.digest import Digest
from vjepa_stress.errors import DuplicateIdentifier, NoSuccessor
from vjepa_stress.fields import Frozen
from vjepa_stress.ledger import DocumentLeaf
from vjepa_stress.prereg.document import Hypothesis, Preregistration, fits


@dataclass(frozen=True)
class Edition:
    """One document of a study, with verified bytes.

    Attributes:
        document: the preregistration document.
        digest: digest of its bytes.
        leaf: the leaf that logged it.
    """

    document: Preregistration
    digest: Digest
    leaf: DocumentLeaf


def next_version(version: str) -> str:
    """The version after this one."""
    return f"v{int(version[1:]) + 1}"


def check_follows(parent: Preregistration, digest: Digest, document: Preregistration) -> None:
    """Refuse a document that is not the next version of its parent.

    Raises:
        NoSuccessor: when study, parent or version differ from the expected ones.
    """
    for field, expected, found in (
        ("study", parent.study, document.study),
        ("parent", digest, document.parent),
        ("version", next_version(parent.version), document.version),
    ):
        if expected != found:
            raise NoSuccessor(
                f"this document is not the next version of {parent.study} {parent.version}: unexpected {field}",
                where=field,
                expected=expected,
                found=found,
                fix=f"write {field}: {expected}",
            )


def check_claims(earlier: Sequence[Preregistration], document: Preregistration) -> None:
    """Refuse a document in which an earlier hypothesis is missing, has another claim, or returns after a withdrawal.

    Raises:
        DuplicateIdentifier: when two claims have the same id.
        NoSuccessor: when a hypothesis is missing, or a withdrawn hypothesis or estimand is active or changed.
    """
    for before in earlier:
        for old in before.hypotheses:
            new = find(document, old.id)
            if new is None:
                raise NoSuccessor(
                    f"{old.id} is missing: a registered hypothesis can be withdrawn, but not removed",
                    where=f"hypotheses of {document.version}",
                    expected=f"{old.id}, as in {before.version}",
                    fix=f"keep {old.id}, and add `status: withdrawn` if it must not be judged",
                )
            if new.claim != old.claim:
                raise DuplicateIdentifier(
                    f"two claims have the hypothesis id {old.id}",
                    where=f"{document.version}",
                    expected=f"{old.claim} ({before.version})",
                    found=new.claim,
                    fix=f"withdraw {old.id}, and give the new claim another id",
                )
            if new.status != "withdrawn":
                _check_withdrawn(before, old, document, new)
            elif before is earlier[-1] and (new.estimands, new.rule) != (old.estimands, old.rule):
                raise NoSuccessor(
                    "the definition of a withdrawn hypothesis has changed",
                    where=f"{document.version}, {old.id}",
                    expected=f"its estimands and rule as in {before.version}",
                    found="other estimands or another rule",
                    fix="restore its estimands and rule; for another claim, use another hypothesis id",
                )


def _check_withdrawn(before: Preregistration, old: Hypothesis, document: Preregistration, new: Hypothesis) -> None:
    """Check that withdrawn estimands stay in the hypothesis, withdrawn and unchanged, and do not return renamed."""
    lost = [
        name
        for name in old.withdrawn
        if name not in new.withdrawn or new.estimands[name] != old.estimands[name]  # withdrawn are estimands
    ]
    if old.status == "withdrawn" or lost:
        raise NoSuccessor(
            "a withdrawn hypothesis or estimand must stay withdrawn",
            where=document.version,
            expected=f"{', '.join(f'{old.id}.{name}' for name in lost) or old.id} withdrawn, with its old definition",
            found="active, changed or missing",
            fix="restore it as withdrawn; to claim it again, use another hypothesis id",
        )
    withdrawn = {new.estimands[name].meaning(document.design): name for name in old.withdrawn}
    for name, estimand in new.estimands.items():
        same = withdrawn.get(estimand.meaning(document.design))
        # An estimand that had two names from the start does not return.
        unchanged = old.estimands.get(name) == estimand
        if same and name not in new.withdrawn and not unchanged:
            raise NoSuccessor(
                "a withdrawn hypothesis or estimand must stay withdrawn",
                where=f"{document.version}, {new.id}.{name}",
                expected=f"another number than {new.id}.{same}, withdrawn in {before.version} or earlier",
                found=f"the same number as {new.id}.{same}",
                fix="to claim it again, use another hypothesis id",
            )


def has_same_meaning(lineage: Sequence[Edition], hypothesis: Hypothesis, name: str) -> bool:
    """Whether an estimand of the newest document reads the same cells as in the last version where it was active.

    For a withdrawn estimand, an amended design may lack cells, or have additional cells that the filter selects.
    """
    design, estimand = lineage[-1].document.design, hypothesis.estimands[name]
    for edition in reversed(lineage):
        old = find(edition.document, hypothesis.id)
        if old is not None and old.status != "withdrawn" and name not in old.withdrawn:
            former = edition.document.design
            return fits(design, estimand) and estimand.meaning(design) == estimand.meaning(former)
    return False


def find(document: Preregistration, name: str) -> Hypothesis | None:
    """The hypothesis with this id."""
    return next((hypothesis for hypothesis in document.hypotheses if hypothesis.id == name), None)


def is_withdrawal(old: Preregistration, new: Preregistration) -> bool:
    """Whether a document only withdraws hypotheses or estimands of its parent."""

    def without_withdrawals(document: Preregistration) -> Preregistration:
        active = [h.model_copy(update={"status": "active", "withdrawn": ()}) for h in document.hypotheses]
        return document.model_copy(update={"hypotheses": tuple(active), **dict.fromkeys(_OF_THE_VERSION)})

    return without_withdrawals(old) == without_withdrawals(new) and old.hypotheses != new.hypotheses


_OF_THE_VERSION = ("version", "created", "data_status", "parent", "amendment")
"""Fields that describe the version. They are shown separately, not as changes."""


class Change(Frozen):
    """One difference between two documents.

    Attributes:
        path: a hypothesis, an estimand, or a dotted path of fields.
        kind: kind of the difference.
        before, after: JSON values; for added or removed cells, their names.
    """

    path: str
    kind: Literal["new", "withdrawn", "added", "removed", "changed", "active-again", "not-there", "invalid"]
    before: Any = None
    after: Any = None


def changes(old: Preregistration, new: Preregistration) -> tuple[Change, ...]:
    """The differences between two documents."""
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
    """The differences between a hypothesis and the earlier one with the same id, if there is one."""
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
    """The added and the removed cells, one change each."""
    before, after = set(old), set(new)
    if added := after - before:
        yield Change(path="design.cells", kind="added", after=_names(added))
    if removed := before - after:
        yield Change(path="design.cells", kind="removed", before=_names(removed))


# Hypotheses and design are compared separately. Simulated chances follow from the other fields.
_ELSEWHERE = (*_OF_THE_VERSION, "schema_", "hypotheses", "design", "operating_characteristics")


def _plain(model: Any, *left_out: str) -> Any:
    return model.model_dump(mode="json", exclude=set(left_out))


def _names(cells: Iterable[Cell]) -> list[str]:
    return [str(cell) for cell in sorted(cells, key=Cell.order)]


def differences(path: str, old: Any, new: Any) -> Iterator[Change]:
    """The differences between two JSON values. Objects of different kinds are one change as a whole."""
    same_kind = isinstance(old, dict) and isinstance(new, dict) and _kind(old) == _kind(new)
    if same_kind:
        for key in [*old, *(key for key in new if key not in old)]:
            if key != "spec_digest":  # it differs when the spec differs
                yield from differences(f"{path}.{key}" if path else key, old.get(key), new.get(key))
    elif old != new:
        yield Change(path=path, kind="changed", before=old, after=new)


def _kind(value: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(value.get(key) for key in ("kind", "statistic"))
