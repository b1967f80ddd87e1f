"""A registration in plain words, and how it differs from its draft."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.small import study
from vjepa_stress.design import Where
from vjepa_stress.design.video import as_video
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.alternatives import Alternative
from vjepa_stress.report import words
from vjepa_stress.report.grouping import grouped
from vjepa_stress.report.show import Section, as_text, describe
from vjepa_stress.rules.all_of import AllOf
from vjepa_stress.rules.band import Band
from vjepa_stress.statistics import Estimand
from vjepa_stress.statistics.mean import Mean
from vjepa_stress.statistics.ratio_of_means import RatioOfMeans
from vjepa_stress.study_root import StudyRoot


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> StudyRoot:
    root = study.new_root(tmp_path_factory.mktemp("show") / "root")
    assert study.register(root).code == 0
    return root


@pytest.fixture
def draft() -> Any:
    return yaml.safe_load((study.HERE / "draft.yaml").read_text())


def shown(root: StudyRoot, draft: Any = None) -> dict[str, Section]:
    sections = describe(freeze.load(root, "small"), draft)
    titles = [section.title for section in sections]
    assert len(set(titles)) == len(titles)
    return {section.title: section for section in sections}


def test_every_word_of_the_authors_is_shown(registered: StudyRoot) -> None:
    document = freeze.load(registered, "small").document
    sections = shown(registered)
    assert sections[document.title].fields["authors"] == "Somebody"
    for hypothesis in document.hypotheses:
        section = sections[f"{hypothesis.id}: {hypothesis.title}"]
        for said in (hypothesis.claim, hypothesis.rationale, hypothesis.prediction):
            assert said in section.fields.values()
    assert sections["H1: Noise"].lines == (
        "1 estimand",
        "  rise: Spearman correlation of mean M2 with strength, over perturbation gaussian_noise; interval: expanded",
        "rule",
        "  rise: rising: rank correlation at or above 0.9 and a change of 1e-06 or more, refuted by a correlation "
        "below 0.5 or a smaller change",
        "why these numbers",
        "  Nearly every step must rise.",
    )
    assert json.loads(registered.document("small", "v1").read_text())["title"] in as_text(sections.values())


def test_cells_are_a_table(registered: StudyRoot) -> None:
    table = shown(registered)["Cells on small: 16 of 16"].table
    assert table is not None
    assert table.columns == ("perturbation", "tiny, tiny_wide")
    assert table.rows == (
        ("frame_drops", "0.2, 0.6, 1"),
        ("gaussian_noise", "0.2, 0.6, 1"),
        ("identity", "probe"),
        ("reverse", "probe"),
    )


def test_what_a_launch_pinned_is_said(registered: StudyRoot, finished: StudyRoot) -> None:
    for root in (registered, finished):
        design = as_video(freeze.load(root, "small").document.design)
        table = shown(root)["Pinned digests"].table
        assert table is not None
        files = {name: text for _, name, _, _, text in table.rows}
        clips, weights = design.datasets["small"].clip_manifest_digest, design.models["tiny"].weights_digest
        assert clips is not None
        assert weights is not None
        assert (files["small"], files["tiny"]) == (f"clips {clips.short}", f"weights {weights.short}")
        assert files["M1"] == ""


def test_amendments_are_listed(registered: StudyRoot, tmp_path: Path) -> None:
    root = study.copied(registered, tmp_path / "root")
    assert study.withdraw(root, "H2.ratio").code == 0
    section = shown(root)["Changed in v2"]
    assert section.fields["reason"] == "error-in-registration"
    assert section.lines == ("H2.ratio withdrawn",)
    draft = yaml.safe_load((study.HERE / "draft.yaml").read_text())
    assert (
        "  H2.ratio: withdrawn in the registration, active in the draft"
        in shown(root, draft)["The draft, compared with v2"].lines
    )


def test_alternatives_are_listed(registered: StudyRoot) -> None:
    registration = freeze.load(registered, "small")
    (edition,) = registration.lineage
    several = (Alternative(name="bca", interval="bca"), Alternative(name="strict", level=0.99, hypothesis="H1"))
    document = edition.document.model_copy(update={"sensitivity": several})
    (analysis,) = (
        section
        for section in describe(replace(registration, lineage=(replace(edition, document=document),)))
        if section.title == "Analysis"
    )
    listed = ("alternatives, which decide nothing", "  bca: interval bca", "  strict of H1: level 0.99")
    assert analysis.lines[:3] == listed
    assert "alternatives, which decide nothing" not in shown(registered)["Analysis"].lines


TITLE = "The draft, compared with v1"


def test_the_draft_of_a_registration_does_not_differ(registered: StudyRoot, draft: Any) -> None:
    assert shown(registered, draft)[TITLE].lines[0] == "no change"
    assert shown(registered)[TITLE].lines == ("there is no draft.yaml",)


def _set(*path: Any, value: object) -> Callable[[Any], None]:
    def change(draft: Any) -> None:
        for key in path[:-1]:
            draft = draft[key]
        draft[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (_set("title", value="Another"), 'title: "A study small enough to be run many times" → "Another"'),
        (_set("notes", value="Look."), 'notes: nothing → "Look."'),
        (_set("authors", value=3), 'authors: ["Somebody"] → 3'),
        (_set("design", "seed", value=4), "design.seed: 3 → 4"),
        (_set("design", "metrics", value=["M1"]), 'design.metrics: ["M1","M2"] → ["M1"]'),
        (_set("design", "controls", value=[]), "design.models.tiny_wide"),
        (
            _set("design", "cells", 0, "strength", value=[0.2, 0.6]),
            "4 cells removed: small · tiny · frame_drops at 1, small · tiny · gaussian_noise at 1, small · tiny_wide"
            " · frame_drops at 1, small · tiny_wide · gaussian_noise at 1",
        ),
        (_set("design", "cells", 0, "strength", value="strong"), "cells: invalid in the draft"),
        (_set("design", "cells", value=None), "cells: invalid in the draft"),
        (_set("hypotheses", 1, "rule", "confirm_at", value=0.8), "H1.rule.confirm_at: 0.9 → 0.8"),
        (_set("hypotheses", 1, "id", value="H9"), "H9 is new"),
        (_set("hypotheses", 1, "id", value="H9"), "H1 is not in the draft"),
        (_set("hypotheses", 1, "rule", value="yes"), "hypotheses: invalid in the draft"),
        (_set("analysis", "bootstrap_seed", value=9), "analysis.bootstrap_seed: 3 → 9"),
        (_set("sensitivity", value=[{"name": "seed", "seed": 9}]), 'sensitivity: [] → [{"name":"seed","seed":9}]'),
        (_set("sensitivity", value=[{"name": "nothing"}]), "sensitivity or acknowledged: invalid in the draft"),
        (_set("analysis", value={"alpha": 0.05}), "analysis, sensitivity or acknowledged: invalid in the draft"),
        (
            _set("operating_characteristics", value={"studies": 1}),
            "operating_characteristics: invalid in the draft",
        ),
        (_set("lists", value={"unused": [1]}), "cannot be read:"),
    ],
)
def test_a_changed_draft_differs(registered: StudyRoot, draft: Any, change: Callable[[Any], None], line: str) -> None:
    change(draft)
    lines = shown(registered, draft)[TITLE].lines
    assert any(line in one for one in lines), lines
    assert lines[0] != "no change"


def cells(**levels: list[Any]) -> Where:
    return Where.model_validate(levels)


NAMES = st.lists(st.sampled_from("abcdef"), min_size=2, max_size=4, unique=True)


@given(NAMES, NAMES)
def test_a_product_of_levels_is_one_template(models: list[str], perturbations: list[str]) -> None:
    estimands: dict[str, Estimand] = {
        f"{model}_{name}": Mean(statistic="mean", metric="M1", where=cells(model=[model], perturbation=[name]))
        for model, name in itertools.product(models, perturbations)
    }
    (group,) = grouped(estimands)
    assert isinstance(group.example, Mean)
    assert words.where(group.example.where) == "model {model} · perturbation {perturbation}"
    assert group.levels == f"; for each model {', '.join(models)} and perturbation {', '.join(perturbations)}"
    # One missing, and no template says what there is.
    del estimands[next(iter(estimands))]
    assert [(one.names, one.example, one.levels) for one in grouped(estimands)] == [
        (name, estimand, "") for name, estimand in estimands.items()
    ]


def test_filters_that_vary_together_share_a_variable() -> None:
    estimands: dict[str, Estimand] = {
        model: RatioOfMeans(
            statistic="ratio_of_means",
            metric="M1",
            numerator=cells(model=[model], strength=[1.0]),
            denominator=cells(model=[model], strength=[0.5]),
        )
        for model in ("a", "b")
    }
    (group,) = grouped(estimands)
    assert isinstance(group.example, RatioOfMeans)
    assert words.where(group.example.numerator) == "model {model} · strength 1"
    assert words.where(group.example.denominator) == "model {model} · strength 0.5"
    assert group.levels == "; for each model a, b"


def test_parts_of_a_rule_that_say_the_same_share_a_line() -> None:
    parts = [Band(kind="band", estimand=name, low=0, high=1) for name in "abcd"]
    last = Band(kind="band", estimand="e", low=0, high=2)
    same, other = (
        words.rule_lines(AllOf(kind="all_of", of=tuple(parts))),
        words.rule_lines(AllOf(kind="all_of", of=(*parts, last))),
    )
    assert len(list(same)) == 1
    assert list(other)[1:] == [
        "  a, b, c, … (4): interval inside [0, 1], refuted when outside",
        "  e: interval inside [0, 2], refuted when outside",
    ]
