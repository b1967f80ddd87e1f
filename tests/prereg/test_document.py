"""The frozen document: what it refuses and where, what it leaves out, and that its bytes are read as the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.verdict import sketch
from vjepa_stress.digest import canonical_json, parse_json
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import DEEPEST_RULE, Preregistration
from vjepa_stress.prereg.schema import validate

CELLS = sketch.cells(["davis"], ["base", "large", "twin"], ["noise", "identity"], [0.2, 0.6, 1.0])
NOISE = {"perturbation": ["noise"]}
MEAN = {"statistic": "mean", "metric": "M2", "where": NOISE}
PEARSON = {"statistic": "pearson", "x": "M1", "y": "M2", "where": NOISE}
JUMPS = {"statistic": "jumps", "metric": "M2", "along": "model", "levels": ["base", "large"], "where": NOISE}
TWO = {"kind": "all_of", "of": [sketch.threshold("level", 0.5, 0.1), sketch.threshold("r", 0.5, 0.1)]}
PARENT = "sha256:" + "a" * 64
AMENDMENT = {"changes": "a", "reason": "missing-information", "severity": "b", "validity": "c"}


def whole() -> Preregistration:
    """A document with two hypotheses."""
    return sketch.document(
        sketch.design(CELLS, clips={"davis": 9}, controls=["twin"]),
        [
            sketch.hypothesis("H1", {"level": MEAN, "r": PEARSON}, TWO),
            sketch.hypothesis("H2", {"sizes": JUMPS}, sketch.reading("sizes", JUMPS)),
        ],
    )


def values() -> dict[str, Any]:
    """The same as plain values."""
    found: dict[str, Any] = parse_json(freeze.to_bytes(whole()))
    return found


def put(*path: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        if value is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return change


def nested(levels: int) -> dict[str, Any]:
    rule: dict[str, Any] = sketch.explained(TWO)
    for _ in range(levels - 2):
        rule = {"kind": "any_of", "of": [rule, rule["of"][0]]}
    return rule


REFUSALS: list[tuple[list[Callable[[dict[str, Any]], None]], list[str]]] = [
    # One field
    ([put("title", value=...)], ["title: Field required"]),
    ([put("title", value="")], ["title: String should have at least 1 character"]),
    ([put("schema", value="vjepa-stress/prereg/v2")], ["schema: Input should be 'vjepa-stress/prereg/v3'"]),
    ([put("version", value="1")], ["version: String should match pattern"]),
    ([put("created", value="yesterday")], ["created: String should match pattern"]),
    ([put("data_status", value="early")], ["data_status: Input should be 'before-creation', "]),
    ([put("study", value="../up")], ["study: String should match pattern"]),
    ([put("authors", value=[])], ["authors: Tuple should have at least 1 item"]),
    ([put("hypotheses", value=[])], ["hypotheses: Tuple should have at least 1 item"]),
    ([put("colour", value="red")], ["colour: "]),
    ([put("hypotheses", 1, "colour", value="red")], ["hypotheses.1.colour: "]),
    ([put("analysis", "confidence_level", value=1.0)], ["analysis.confidence_level: Input should be less than 1"]),
    ([put("analysis", "bootstrap_resamples", value=999)], ["analysis.bootstrap_resamples: Input should be greater"]),
    ([put("analysis", "bootstrap_seed", value=2**53)], ["analysis.bootstrap_seed: "]),
    ([put("analysis", "stopping", value="when it is significant")], ["analysis.stopping.fixed: Input should be"]),
    ([put("analysis", "confidence_level", value="0.95")], ["confidence_level", "is not of type 'number'"]),
    ([put("hypotheses", 0, "rule", "kind", value="coin")], ["hypotheses.0.rule: ", "'coin'"]),
    ([put("hypotheses", 0, "estimands", "r", "statistic", value="mode")], ["hypotheses.0.estimands.r: ", "'mode'"]),
    # The design
    ([put("design", "kind", value="audio")], ["design: ", "'audio'", "video"]),
    ([put("design", "cells", 0, "strength", value="0.2")], ["design: cell", "'strength': '0.2'"]),
    ([put("design", "models", "base", "spec_digest", value=PARENT)], ["design", PARENT]),
    # What holds within a hypothesis
    (
        [put("hypotheses", 0, "rule", "of", 0, "estimand", value="nothing")],
        ["hypotheses.0: ", "'nothing'", "of H1: level, r"],
    ),
    (
        [put("hypotheses", 0, "rule", value=sketch.explained(sketch.threshold("level", 0.5, 0.1)))],
        ["hypotheses.0: ", "estimand 'r' of H1"],
    ),
    (
        [put("hypotheses", 1, "rule", value=sketch.explained(sketch.threshold("sizes", 0.5, 0.1)))],
        ["hypotheses.1: threshold reads a", "H2.sizes (jumps, interval max-t) is a curve"],
    ),
    (
        [put("hypotheses", 0, "rule", value=nested(DEEPEST_RULE + 1))],
        [f"hypotheses.0: the rule of H1 has {DEEPEST_RULE + 1} levels", str(DEEPEST_RULE)],
    ),
    (
        [put("hypotheses", 0, "rule", "of", 0, "rationale", value=...)],
        ["hypotheses.0: ", "'level' of H1 has no `rationale`: add one"],
    ),
    ([put("hypotheses", 0, "withdrawn", value=["s"])], ["hypotheses.0: withdrawn: 's'", "H1"]),
    ([put("hypotheses", 0, "withdrawn", value=["r", "r"])], ["hypotheses.0: withdrawn: 'r'", "H1"]),
    ([put("hypotheses", 0, "withdrawn", value=["level", "r"])], ["hypotheses.0: ", "H1", "level, r"]),
    # What holds between fields
    ([put("hypotheses", 1, "id", value="H1")], ["document: ", "id 'H1'"]),
    ([put("hypotheses", 0, "estimands", "level", "metric", value="M9")], ["document: H1.level: ", "'M9'"]),
    (
        [put("hypotheses", 0, "estimands", "level", "where", value={"perturbation": ["fog"]})],
        ["document: H1.level: ", "no cell"],
    ),
    ([put("hypotheses", 0, "status", value="withdrawn")], ["document: only an amendment can withdraw"]),
    ([put("hypotheses", 0, "withdrawn", value=["r"])], ["document: only an amendment can withdraw"]),
    ([put("parent", value=PARENT)], ["document: ", "`amendment`"]),
    ([put("amendment", value=AMENDMENT)], ["document: ", "`amendment`"]),
    (
        [
            put(
                "acknowledged",
                value=[{"warning": "too-few-clips", "hypothesis": "H1", "estimand": "mode", "reason": "why"}],
            )
        ],
        ["document: acknowledged: ", "H1.mode"],
    ),
    (
        [put("sensitivity", value=[{"name": "one", "hypothesis": "H9", "seed": 2}])],
        ["document: sensitivity: one: unknown hypothesis 'H9'", "H1, H2"],
    ),
    (
        [put("sensitivity", value=[{"name": "one", "seed": 2}, {"name": "one", "seed": 3}])],
        ["document: sensitivity: one: two alternatives have this name"],
    ),
    ([put("sensitivity", value=[{"name": "one", "where": {"fog": ["thick"]}}])], ["sensitivity: one: ", "'fog'"]),
    (
        [put("sensitivity", value=[{"name": "one", "where": {"perturbation": ["fog"]}}])],
        ["sensitivity: one: ", "no cell"],
    ),
    (
        [put("sensitivity", value=[{"name": "one", "statistic": "median"}])],
        ["sensitivity: one: unknown statistic 'median'", "spearman"],
    ),
    (
        [put("sensitivity", value=[{"name": "one", "where": {"rows": [{"column": "M2", "at_least": 0.1}]}}])],
        ["sensitivity.0", "filters rows"],
    ),
    ([put("sensitivity", value=[{"name": f"a{n}", "seed": n} for n in range(21)])], ["sensitivity: ", "20"]),
    # Several at once
    (
        [put("title", value=...), put("authors", value=[]), put("hypotheses", 1, "claim", value="")],
        ["title: ", "authors: ", "hypotheses.1.claim: "],
    ),
]


@pytest.mark.parametrize(
    ("changes", "texts"), REFUSALS, ids=[f"{n}: {texts[0]}" for n, (_, texts) in enumerate(REFUSALS)]
)
def test_what_a_document_refuses_with_the_path_to_it(
    changes: list[Callable[[dict[str, Any]], None]], texts: list[str]
) -> None:
    value = copy.deepcopy(values())
    for change in changes:
        change(value)
    with pytest.raises(BadDocument) as error:
        validate(Preregistration, value, "v1.json")
    assert error.value.where == "v1.json"
    for text in texts:
        assert text in str(error.value.found)
    assert len(str(error.value.found).strip().splitlines()) == len(changes)
    with pytest.raises(BadDocument):
        freeze.from_bytes(canonical_json(value), "v1.json")


def test_the_deepest_rule_is_one_that_a_document_takes() -> None:
    value = values()
    value["hypotheses"][0]["rule"] = nested(DEEPEST_RULE)
    assert validate(Preregistration, value, "v1.json").hypotheses[0].rule.depth() == DEEPEST_RULE


def test_its_bytes_are_read_as_the_same_document_and_written_as_the_same_bytes() -> None:
    data = freeze.to_bytes(whole())
    again = freeze.from_bytes(data, "v1.json")
    assert again == whole()
    assert freeze.to_bytes(again) == data
    assert freeze.check_round_trip(whole(), "v1.json") == data


@given(st.text(min_size=1, max_size=30))
def test_a_title_survives_or_is_refused_but_never_changes(title: str) -> None:
    document = whole().model_copy(update={"title": title})
    try:
        data = freeze.check_round_trip(document, "v1.json")
    except BadDocument:
        return
    assert freeze.from_bytes(data, "v1.json").title == title


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("half \ud800", "no canonical JSON form"),
        ("e\u0301", "normal form C"),
        ("\x1b[2J", "control"),
        ("\u202edecreto", "formatting"),
    ],
    ids=["half a surrogate pair", "not NFC", "a control character", "right to left"],
)
def test_titles_that_have_no_safe_canonical_form(title: str, text: str) -> None:
    with pytest.raises(BadDocument, match=text):
        freeze.check_round_trip(whole().model_copy(update={"title": title}), "v1.json")


@pytest.mark.parametrize(
    "edit",
    [
        lambda data: b" " + data,
        lambda data: data + b"\n",
        lambda data: data.replace(b'"M2"', b'"\\u004d2"', 1),
        lambda data: data.replace(b'"confidence_level":0.95', b'"confidence_level":0.950', 1),
        lambda data: data.replace(b'"seed":1', b'"seed":1.0', 1),
        lambda data: data[::-1],
    ],
    ids=["a space", "a newline", "an escape", "a zero", "a float", "reversed"],
)
def test_bytes_that_are_not_the_canonical_ones(edit: Callable[[bytes], bytes]) -> None:
    data = freeze.to_bytes(whole())
    assert edit(data) != data
    with pytest.raises(BadDocument):
        freeze.from_bytes(edit(data), "v1.json")


def test_what_says_nothing_is_left_out_of_the_file() -> None:
    value = values()
    assert not {"notes", "amendment", "acknowledged"} & set(value)
    assert not any("withdrawn" in hypothesis for hypothesis in value["hypotheses"])
    assert (value["parent"], value["sensitivity"], value["operating_characteristics"]) == (None, [], None)


def test_what_is_left_of_a_hypothesis_is_what_was_not_withdrawn() -> None:
    one = whole().hypotheses[0]
    assert one.rest == one.rule
    assert one.judged == one
    part = one.model_copy(update={"withdrawn": ("r",)})
    assert part.rest is not None
    assert {leaf.estimand for leaf in part.rest.leaves()} == {"level"}
    assert part.judged is not None
    assert set(part.judged.estimands) == {"level"}
    gone = one.model_copy(update={"status": "withdrawn"})
    assert (gone.rest, gone.judged) == (None, None)


def test_what_is_withdrawn_may_have_lost_its_cells() -> None:
    """An amended design need not keep what nothing judges."""
    value = values() | {"version": "v2", "parent": PARENT, "amendment": AMENDMENT}
    value["hypotheses"][1]["estimands"]["sizes"]["where"] = {"perturbation": ["fog"]}
    with pytest.raises(BadDocument, match=r"H2\.sizes"):
        validate(Preregistration, value, "v2.json")
    value["hypotheses"][1]["status"] = "withdrawn"
    assert validate(Preregistration, value, "v2.json").hypotheses[1].judged is None
