"""Templates and named lists in drafts: against nested loops, and what is refused."""

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vjepa_stress.digest import canonical_json, sha256
from vjepa_stress.errors import BadDocument
from vjepa_stress.prereg.drafts import LARGEST, expand
from vjepa_stress.sweep.draft import Draft, read_draft

PROJECT = Path(__file__).parents[2]

names = st.text("abcdefgh", min_size=1, max_size=4)
levels = st.one_of(names, st.integers(-99, 99), st.floats(-1, 1))
several = st.lists(levels, min_size=1, max_size=4, unique_by=str)
plain = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text().filter(lambda t: "$" not in t)
    ),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(names.filter(lambda n: n not in ("each", "lists")), inner)
    ),
    max_leaves=20,
)


@given(st.dictionaries(names.filter(lambda n: n not in ("each", "lists")), plain))
def test_a_draft_that_repeats_nothing_is_returned_unchanged(draft: dict[str, Any]) -> None:
    assert expand(draft, "draft") == draft


@given(st.dictionaries(names, several, min_size=1, max_size=3), st.integers())
def test_items_equal_a_nested_loop(each: dict[str, list[Any]], constant: int) -> None:
    template = {"kept": constant, **{f"is_{name}": f"{{{name}}}" for name in each}}
    template["text"] = "of " + "/".join(f"{{{name}}}" for name in each)
    draft = {"items": ["first", {"each": each, **template}]}
    before = copy.deepcopy(draft)
    expected: list[Any] = ["first"]
    for combination in itertools.product(*each.values()):
        item = {f"is_{name}": level for name, level in zip(each, combination, strict=True)}
        expected.append({"kept": constant, **item, "text": "of " + "/".join(map(str, combination))})
    found: Any = expand(draft, "draft")["items"]
    assert found == expected
    assert [list(map(type, item.values())) for item in found[1:]] == [
        list(map(type, item.values())) for item in expected[1:]
    ]
    assert draft == before


@given(several, several, several)
def test_named_entries_and_templates_in_templates_equal_nested_loops(
    one: list[Any], two: list[Any], three: list[Any]
) -> None:
    draft = {
        "lists": {"two": two},
        "entries": {
            "{a}|{b}": {
                "each": {"a": one, "b": "$two"},
                "of": [{"each": {"c": three}, "all": ["{a}", "{b}", "{c}"]}, "$two"],
            }
        },
    }
    expected = {}
    for a in one:
        for b in two:
            expected[f"{a}|{b}"] = {"of": [*({"all": [a, b, c]} for c in three), *two]}
    found: Any = expand(draft, "draft")
    assert found == {"entries": expected}
    assert list(found["entries"]) == list(expected)


def test_lists_keys_and_rows() -> None:
    draft = {
        "lists": {"sizes": {"a": "small", 10: 0.5}, "all": ["$sizes", "other"], "rows": [["x", 1, 2], ["y", 3, 4]]},
        "where": "$sizes",
        "models": ["first", "$all"],
        "keyed": [{"each": {"key, model": "$sizes"}, "key": "{key}", "model": "{model}"}],
        "rows": [{"each": {"name, low, _": "$rows"}, "{name}": "{low}"}],
        "paired": [{"each": {"name, low, high": {"z": [5, 6]}}, "{name}": ["{low}", "{high}"]}],
    }
    assert expand(draft, "draft") == {
        "where": ["small", 0.5],
        "models": ["first", "small", 0.5, "other"],
        "keyed": [{"key": "a", "model": "small"}, {"key": "10", "model": 0.5}],
        "rows": [{"x": 1}, {"y": 3}],
        "paired": [{"z": [5, 6]}],
    }


def _item(each: object, **body: object) -> dict[str, object]:
    return {"items": [{"each": each, **body}]}


@pytest.mark.parametrize(
    ("draft", "path", "message"),
    [
        (_item({"model": ["a"]}, x="{modle}"), "items[0].x", "no variable modle; did you mean model?"),
        (_item({"a": [1], "b": [2]}, x="{a}"), "items[0].each", "the variable b is never used"),
        (_item({"a": []}, x="{a}"), "items[0].each.a", "no levels"),
        (_item({"a": {}}, x="{a}"), "items[0].each.a", "no levels"),
        (_item({"a": 3}, x="{a}"), "items[0].each.a", "no levels"),
        (_item({"a": [None]}, x="{a}"), "items[0].each.a[0]", "invalid level"),
        (_item({"a": [True]}, x="{a}"), "items[0].each.a[0]", "invalid level"),
        (_item({"a": [[1, 2]]}, x="{a}"), "items[0].each.a", "1 for a\n  found: 2 in [1, 2]"),
        (_item({"a, b": {"k": [1, 2]}}, x="{a}{b}"), "items[0].each.a, b", "2 for a, b\n  found: 3 in ['k', 1, 2]"),
        (_item({"a, a": [[1, 2]]}, x="{a}"), "items[0].each", "the variable a is defined twice"),
        (
            _item({"a": [1]}, y=[{"each": {"a": [2]}, "x": "{a}"}]),
            "items[0].y[0].each",
            "already defined in the enclosing item",
        ),
        (_item({"a b": [1]}), "items[0].each", "invalid name of a variable"),
        (_item({}), "items[0].each", "`each` has no variables"),
        (_item(["a"]), "items[0].each", "`each` has no variables"),
        (_item({"a": "$modls"}, x="{a}") | {"lists": {"models": [1]}}, "items[0].each.a", "did you mean models?"),
        ({"where": "$models"}, "where", "no list is defined so far"),
        ({"lists": {"a": ["$b"], "b": [1]}, "x": "$a"}, "lists.a[0]", "no list $b"),
        ({"lists": {"a": [1]}, "x": []}, "lists.a", "never used"),
        ({"lists": {"a-b": [1]}, "x": "$a"}, "lists.a-b", "invalid name of a list"),
        ({"lists": [1]}, "lists", "not a mapping"),
        ({"each": {"a": [1]}, "x": "{a}"}, "each", "`each` is not allowed here"),
        ({"x": {"each": {"a": [1]}, "y": "{a}"}}, "x.each", "`each` is not allowed here"),
        ({"x": {"y{a}": {"each": {"a": [1, 2], "b": [1, 2]}, "z": "{b}"}}}, "x.y{a}", "the same name"),
        ({"x": {"y1": 0, "y{a}": {"each": {"a": [1]}}}}, "x.y{a}", "y1, from x.y1 and x.y{a}"),
        (_item({key: list(range(9)) for key in "abcdefghi"}), "items[0]", "too many values"),
        ({"lists": {"a": [1] * 10, "b": ["$a"] * 10, "c": ["$b"] * 100, "d": ["$c"] * 100}}, "lists.d", "too many"),
    ],
)
def test_what_is_refused(draft: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(BadDocument) as caught:
        expand(draft, "my.yaml")
    assert caught.value.where == f"my.yaml, {path}"
    assert message in str(caught.value)


def test_many_large_items_are_refused_before_they_are_built() -> None:
    draft = {"items": [{"each": {"a": list(range(1000))}, "x": "{a}", "y": [0] * 1000}]}
    with pytest.raises(BadDocument, match=f"at most {LARGEST}"):
        expand(draft, "draft")


def _digest(value: object) -> str:
    return sha256(canonical_json(value)).hex[:16]


@pytest.mark.parametrize(
    ("study", "n_hypotheses", "n_cells", "hypotheses", "scenarios"),
    [
        ("demo", 9, 110, "8c62c8f0bcdedaeb", "68792abd8a37d422"),
        ("pocket", 7, 738, "ec9d4bbedcdaa107", "3411869a48e95516"),
        ("vjepa21", 7, 322, "075dfa7668513767", "cdae6c2253c23b36"),
    ],
)
def test_what_the_shipped_drafts_expand_to(
    study: str, n_hypotheses: int, n_cells: int, hypotheses: str, scenarios: str
) -> None:
    # Except for the prose, the drafts expand to documents that had every estimand, rule and effect written out.
    path = PROJECT / "prereg" / study / "draft.yaml"
    draft = read_draft(path)
    assert len(draft.hypotheses) == n_hypotheses
    assert len(_cells(draft)) == n_cells
    assert _digest(list(draft.hypotheses)) == hypotheses
    assert draft.operating_characteristics is not None
    plan = copy.deepcopy(draft.operating_characteristics)
    for scenario in plan["scenarios"].values():
        scenario["effects"].sort(key=canonical_json)  # templates list the pilot's effects in another order
    assert _digest(plan) == scenarios
    assert max(map(len, path.read_text().splitlines())) <= 118


def _cells(draft: Draft) -> set[tuple[object, ...]]:
    return {
        cell
        for block in draft.design.cells
        for cell in itertools.product(block.dataset, block.model, block.perturbation, block.strength or (None,))
    }


def test_the_example_on_the_usage_page() -> None:
    page = (PROJECT / "docs/usage.md").read_text().split("### Repetition in a draft")[1]
    example: Any = expand(yaml.safe_load(page.split("```yaml\n")[1].split("```")[0]), "usage.md")
    (hypothesis,) = example["hypotheses"]
    named = ["gaussian_noise_a", "low_light_a", "gaussian_noise_b", "low_light_b"]
    assert list(hypothesis["estimands"]) == named
    assert [part["estimand"] for part in hypothesis["rule"]["of"]] == named
    assert hypothesis["estimands"]["low_light_b"]["where"] == {"model": ["pocket_b"], "perturbation": ["low_light"]}
    assert example["design"]["cells"][0]["model"] == ["pocket_a", "pocket_b", "pixels_8"]
