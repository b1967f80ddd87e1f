"""Description of a registration: hypotheses, cells, pinned digests, amendments, and differences to the draft."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from vjepa_stress.design import Design, VideoDesign
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.document import Hypothesis, Sequential
from vjepa_stress.prereg.draft_defaults import complete
from vjepa_stress.prereg.drafts import expand
from vjepa_stress.prereg.freeze import Registration
from vjepa_stress.prereg.lineage import changes
from vjepa_stress.report import words
from vjepa_stress.report.draft_changes import NOT_COMPARED, draft_changes
from vjepa_stress.report.grouping import grouped
from vjepa_stress.report.numbers import percent
from vjepa_stress.report.verdicts import schedule
from vjepa_stress.report.video_registration import Grid, cell_grids, header_fields, pinned_blocks
from vjepa_stress.terminal import aligned

LONGEST = 240
"""Maximum number of characters of one difference."""


@dataclass(frozen=True)
class Section:
    """One section of the description.

    Attributes:
        title: heading.
        fields: short texts by name.
        lines: further lines; indented lines belong to the line above them.
        table: table below the lines.
    """

    title: str
    fields: dict[str, str] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    table: Grid | None = None


def describe(registration: Registration, draft: Mapping[str, object] | None = None) -> tuple[Section, ...]:
    """Describe a registration.

    Args:
        registration: the registered study.
        draft: plain values of `prereg/STUDY/draft.yaml`, as read from YAML; None if there is no draft.

    Returns:
        Sections in reading order. They contain texts of the authors, which must be escaped before printing.
    """
    document = registration.document
    return (
        _header(registration),
        *(_hypothesis(hypothesis) for hypothesis in document.hypotheses),
        *_cells(document.design),
        _pinned(registration),
        _analysis(registration),
        *_amendments(registration),
        _draft(registration, draft),
    )


def as_text(sections: Iterable[Section]) -> str:
    """Sections as plain text, with aligned columns in tables."""
    return "\n\n".join("\n".join([section.title, *map(_indented, _lines(section))]) for section in sections) + "\n"


def _indented(line: str) -> str:
    return f"  {line}" if line else ""


def _lines(section: Section) -> Iterator[str]:
    width = max(map(len, section.fields), default=0)
    for name, text in section.fields.items():
        yield f"{name:{width}}  {text}"
    yield from section.lines
    if section.table is not None:
        yield from aligned([section.table.columns, *section.table.rows])


def _header(registration: Registration) -> Section:
    document, design = registration.document, registration.document.design
    fields = {
        "study": f"{document.study} {document.version}",
        "authors": ", ".join(document.authors),
        "registered": f"{registration.leaf.at}, {registration.lineage[0].digest}",
        "data status": document.data_status,
        "design": f"{design.kind}: {' × '.join(design.factor_names)}",
        "sources": "; ".join(words.stratum(name, design) for name in design.strata(design.cells)),
    }
    if isinstance(design, VideoDesign):
        fields |= header_fields(design)
    return Section(document.title, fields | ({"notes": document.notes} if document.notes else {}))


# Hypotheses


def _hypothesis(hypothesis: Hypothesis) -> Section:
    status = {"status": "withdrawn"} if hypothesis.status == "withdrawn" else {}
    withdrawn = {"withdrawn": ", ".join(hypothesis.withdrawn)} if hypothesis.withdrawn else {}
    fields = {
        **status,
        **withdrawn,
        "family": hypothesis.family,
        "claim": hypothesis.claim,
        "rationale": hypothesis.rationale,
        "prediction": hypothesis.prediction,
    }
    groups = grouped(hypothesis.estimands)
    estimands = [f"  {group.names}: {words.estimand_over(group.example)}{group.levels}" for group in groups]
    rules = [f"  {line}" for line in words.rule_lines(hypothesis.rule)]
    why = [f"  {line}" for line in words.rationales(hypothesis.rule)]
    count = words.counted(len(hypothesis.estimands), "estimand")
    lines = (
        count,
        *estimands,
        "rule",
        *rules,
        "why these numbers",
        *why,
    )
    return Section(f"{hypothesis.id}: {hypothesis.title}", fields, lines)


# Cells


def _cells(design: Design) -> Iterator[Section]:
    if not isinstance(design, VideoDesign):
        rows = tuple(
            tuple("-" if (level := cell[name]) is None else words.number(level) for name in design.factor_names)
            for cell in design.cells
        )
        yield Section(f"Cells: {len(rows)}", table=Grid(design.factor_names, rows))
        return
    for title, grid in cell_grids(design):
        yield Section(title, table=grid)


# Pinned digests


def _pinned(registration: Registration) -> Section:
    design = registration.document.design
    if not isinstance(design, VideoDesign):
        bound = tuple(
            (kind, name, entry.spec.short, entry.digest.short if entry.digest else "to be pinned by the first launch")
            for kind, entries in design.identities.items()
            for name, entry in entries.items()
        )
        return Section("Pinned digests", table=Grid(("kind", "name", "specification", "content"), bound))
    return Section("Pinned digests", table=pinned_blocks(registration, design))


# Analysis, amendments and the draft


def _analysis(registration: Registration) -> Section:
    document, analysis = registration.document, registration.document.analysis
    fields = {
        "confidence level": percent(analysis.confidence_level),
        "bootstrap": f"{analysis.bootstrap_resamples} resamples, seed {analysis.bootstrap_seed}",
        "multiplicity": analysis.multiplicity,
        "within a hypothesis": words.WITHIN[analysis.within_hypothesis],
        "missing data": analysis.missing_data,
        "exclusions": words.counted(len(analysis.exclusions), "clip") if analysis.exclusions else "none",
    }
    if isinstance(analysis.stopping, Sequential):
        fields["looks"] = f"{schedule(analysis.stopping)}; the first that confirms or refutes decides"
    lines = ["alternatives, which decide nothing"] if document.sensitivity else []
    for one in document.sensitivity:
        of = f" of {one.hypothesis}" if one.hypothesis else ""
        lines.append(f"  {one.name}{of}: {words.alternative(one)}")
    by_reason: dict[tuple[str, str], list[str]] = {}
    for warning in document.acknowledged:
        name = f"{warning.hypothesis}.{warning.estimand}"
        by_reason.setdefault((warning.warning, warning.reason), []).append(name)
    for (kind, reason), names in by_reason.items():
        lines.append(f"acknowledged warning: {kind} for {words.listed(names)}: {reason}")
    return Section("Analysis", fields, tuple(lines))


def _amendments(registration: Registration) -> Iterator[Section]:
    for before, edition in zip(registration.lineage, registration.lineage[1:], strict=False):
        fields: dict[str, Any] = {"logged": edition.leaf.at, "data status": edition.document.data_status}
        if edition.document.amendment is not None:
            fields |= edition.document.amendment.model_dump(mode="json")
        lines = (_short(words.change(one)) for one in changes(before.document, edition.document))
        yield Section(f"Changed in {edition.document.version}", fields, tuple(lines))


def _draft(registration: Registration, draft: Mapping[str, object] | None) -> Section:
    document = registration.document
    title = f"The draft, compared with {document.version}"
    if draft is None:
        return Section(title, lines=("there is no draft.yaml",))
    try:
        found = draft_changes(document, complete(expand(draft, "draft.yaml"), "draft.yaml"))
    except BadDocument as error:
        return Section(title, lines=("the draft cannot be read:", *str(error).splitlines()))
    summary = words.counted(len(found), "change") + ", registered → draft" if found else "no change"
    footer = f"not compared: {NOT_COMPARED}"
    return Section(title, lines=(summary, *(f"  {_short(words.change(one))}" for one in found), footer))


def _short(line: str) -> str:
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"
