"""Statistics and rules are closed sets: one file each, found by listing the folder, and nothing else counts."""

from __future__ import annotations

import ast
import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

import vjepa_stress
from tests.verdict import sketch
from vjepa_stress import rules, statistics
from vjepa_stress.closed_sets import find_members
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.schema import json_schema
from vjepa_stress.rules import RULES, AnyRule, LeafRule, Rule
from vjepa_stress.rules.band import Band
from vjepa_stress.statistics import STATISTICS, Estimand, Statistic
from vjepa_stress.statistics.mean import Mean

PACKAGE = Path(vjepa_stress.__file__).parent
SETS = [(statistics, Statistic, "statistic", STATISTICS), (rules, Rule, "kind", RULES)]


def files(package: ModuleType) -> list[Path]:
    """The files of a folder that should each be one member."""
    (folder,) = package.__path__
    return [path for path in sorted(Path(folder).glob("*.py")) if not path.name.startswith(("__init__", "base"))]


@pytest.mark.parametrize(("package", "base", "tag", "found"), SETS)
def test_every_file_is_one_member_with_its_name(
    package: ModuleType, base: type[BaseModel], tag: str, found: dict[str, type[BaseModel]]
) -> None:
    assert sorted(found) == [path.stem for path in files(package)]
    for path in files(package):
        module = f"{package.__name__}.{path.stem}"
        members = [
            one
            for one in vars(sys.modules[module]).values()
            if inspect.isclass(one) and issubclass(one, base) and one.__module__ == module
        ]
        assert members == [found[path.stem]]
        assert get_args(members[0].model_fields[tag].annotation) == (path.stem,)


@pytest.mark.parametrize(("package", "base", "tag", "found"), SETS)
def test_the_arithmetic_of_statistics_is_no_member(
    package: ModuleType, base: type[BaseModel], tag: str, found: dict[str, type[BaseModel]]
) -> None:
    """Subpackages and files named `base…` are not searched, and listing again finds the same classes."""
    assert find_members(package.__name__, package.__path__, base, tag) == found


def test_two_members_cannot_share_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "doubled"
    folder.mkdir()
    text = (PACKAGE / "rules" / "band.py").read_text()
    for name in ("__init__", "one", "other"):
        (folder / f"{name}.py").write_text("" if name == "__init__" else text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(TypeError, match=r"kind 'band' is already used by doubled\.one"):
        find_members("doubled", [str(folder)], Rule, "kind")


def test_every_member_has_its_words() -> None:
    for statistic in STATISTICS.values():
        assert {"name", "of"} <= set(statistic.words)
    for rule in RULES.values():
        needed = {"confirmed", "refuted", "ambiguous", "condition"} if issubclass(rule, LeafRule) else {"needs"}
        assert needed <= set(rule.words)


ELSEWHERE = """
from typing import ClassVar, Literal
from vjepa_stress.rules.band import Band
from vjepa_stress.statistics.mean import Mean


class Median(Mean):
    statistic: Literal["median"]


class AtMost(Band):
    kind: Literal["at_most"]
"""
MEDIAN = {"statistic": "median", "metric": "M2", "where": {}}
AT_MOST = {"kind": "at_most", "estimand": "x", "low": 0.0, "high": 1.0}


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A user's own module with a statistic and a rule."""
    (tmp_path / "own_statistics.py").write_text(ELSEWHERE)
    monkeypatch.syspath_prepend(str(tmp_path))
    import own_statistics  # type: ignore[import-not-found]

    return own_statistics  # type: ignore[no-any-return]


def test_a_plugin_adds_nothing(plugin: ModuleType) -> None:
    assert issubclass(plugin.Median, Mean)
    assert issubclass(plugin.AtMost, Band)
    assert find_members("vjepa_stress.statistics", statistics.__path__, Statistic, "statistic") == STATISTICS
    assert find_members("vjepa_stress.rules", rules.__path__, Rule, "kind") == RULES
    assert "median" not in STATISTICS
    assert "at_most" not in RULES
    estimands: TypeAdapter[Any] = TypeAdapter(Estimand)
    any_rule: TypeAdapter[Any] = TypeAdapter(AnyRule)
    with pytest.raises(ValidationError, match="median"):
        estimands.validate_python(MEDIAN)
    with pytest.raises(ValidationError, match="at_most"):
        any_rule.validate_python(AT_MOST)


def test_an_object_of_a_plugin_does_not_get_into_a_document(plugin: ModuleType) -> None:
    """Nor as an object that is already built, inside a rule or a hypothesis."""
    cells = sketch.cells(["davis"], ["base"], ["noise"], [0.5])
    design = sketch.design(cells, clips={"davis": 9})
    mean = {**MEDIAN, "statistic": "mean"}
    for estimand, rule in (
        (plugin.Median.model_validate(MEDIAN), sketch.threshold("x", 0.5, 0.1)),
        (mean, plugin.AtMost.model_validate(AT_MOST)),
        (mean, {"kind": "any_of", "of": [plugin.AtMost.model_validate(AT_MOST)]}),
    ):
        with pytest.raises(ValidationError, match=r"median|at_most"):
            sketch.document(design, [sketch.hypothesis("H1", {"x": estimand}, rule)])


def test_the_json_schema_lists_the_members() -> None:
    definitions = json_schema(Preregistration)["$defs"]
    for tag, found in (("statistic", set(STATISTICS)), ("kind", set(RULES))):
        named = {
            fields["properties"][tag]["const"]
            for fields in definitions.values()
            if "const" in fields.get("properties", {}).get(tag, {})
        }
        assert found <= named


def test_no_other_module_names_a_statistic_or_a_rule() -> None:
    """What is to be known of one stands in its file; everything else goes through `Statistic` and `Rule`."""
    names = {*STATISTICS, *RULES} - {"count"}  # also a kind of shard column
    classes = {one.__name__ for one in (*STATISTICS.values(), *RULES.values())}
    public = PACKAGE / "verdict" / "estimate.py"  # statistics of arrays, by name
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        if path == public or path.parts[len(PACKAGE.parts)] in ("statistics", "rules"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) else None
            imported = [one.name for one in node.names] if isinstance(node, ast.ImportFrom) else []
            here = {text} & names if isinstance(text, str) else set(imported) & classes
            found += [f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)} {name}" for name in here]
    assert found == []


NEW_STATISTIC = '''"""Median of a metric over units, with a bootstrap over units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np

from vjepa_stress.design.cell import Where
from vjepa_stress.fields import Name
from vjepa_stress.statistics.base import Sample, Span, Statistic
from vjepa_stress.statistics.numerics.arrays import unit_means
from vjepa_stress.statistics.numerics.estimate import Estimate, Note, PendingEstimate, undefined
from vjepa_stress.statistics.numerics.resample import Resampling, percentile_ends


class Median(Statistic):
    """Median over units of their means over cells."""

    words: ClassVar[Mapping[str, str]] = {"name": "median", "of": "median {metric}"}

    statistic: Literal["median"]
    metric: Name
    where: Where
    interval: Literal["percentile"] = "percentile"

    def filters(self) -> tuple[Where, ...]:
        """Its one filter."""
        return (self.where,)

    def columns(self) -> tuple[Name, ...]:
        """The metric."""
        return (self.metric,)

    def value_range(self, spans: Sequence[Span]) -> Span:
        """The metric's own."""
        return spans[0]

    def plan(self, sample: Sample, how: Resampling) -> PendingEstimate | Estimate:
        """Resample units."""
        values = unit_means(sample.parts[0])[:, 0]
        if len(values) < 2:
            return undefined(len(values), "percentile", Note(code="too-few-units"))
        drawn = np.random.default_rng(how.seed).integers(0, len(values), (how.resamples, len(values)))
        low, high = percentile_ends(np.median(values[drawn], axis=1), how.level).tolist()
        value = float(np.median(values))
        return Estimate(value=value, low=low, high=high, n=len(values), method="percentile")
'''

NEW_RULE = '''"""An interval at or below a limit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from vjepa_stress.fields import Finite
from vjepa_stress.rules.base import Decision, LeafRule, Numbers
from vjepa_stress.statistics.numerics.estimate import Estimate


class AtMost(LeafRule):
    """Interval at or below the limit: confirmed; above it: refuted; else ambiguous."""

    words: ClassVar[Mapping[str, str]] = {
        "confirmed": "the interval of {estimand} is at most {limit}",
        "refuted": "the interval of {estimand} is above {limit}",
        "ambiguous": "{limit} lies in the interval of {estimand}",
        "condition": "interval at most {limit}, {refuted} above",
    }

    kind: Literal["at_most"]
    limit: Finite

    def decide(self, value: float, low: float, high: float, estimate: Estimate) -> Decision:
        """Below, above, or across."""
        return Decision(high <= self.limit, low > self.limit)

    def borders(self) -> tuple[float, ...]:
        """The limit."""
        return (self.limit,)

    def numbers(self) -> Numbers:
        """The limit."""
        return {"limit": self.limit}
'''

USE = """
import json
import sys

import numpy as np

import vjepa_stress
from tests.verdict import sketch
from vjepa_stress.digest import canonical_json, parse_json
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.scenarios import Plan
from vjepa_stress.prereg.schema import validate
from vjepa_stress.report import verdicts, words
from vjepa_stress.verdict.check import check
from vjepa_stress.verdict.judge import judge
from vjepa_stress.verdict.multiplicity import p_value, resampling
from vjepa_stress.verdict.plan import compute
from vjepa_stress.verdict.power import operating_characteristics

design = sketch.design(sketch.cells(["davis"], ["base"], ["noise"], [0.2, 1.0]), clips={"davis": 30})
median = {"statistic": "median", "metric": "M2", "where": {"perturbation": ["noise"]}}
limit = {"kind": "at_most", "estimand": "x", "limit": 0.9}
rule = {"kind": "all_of", "of": [limit, sketch.threshold("x", 0.1, 0.0)]}
document = sketch.document(design, [sketch.hypothesis("H1", {"x": median}, rule)])
again = validate(Preregistration, parse_json(canonical_json(document.model_dump(mode="json", by_alias=True))), "here")
beyond = sketch.document(design, [sketch.hypothesis("H1", {"x": median}, {**limit, "limit": 3.0})])
table = sketch.table(document)
(hypothesis,) = again.hypotheses
seen = {"x": compute(hypothesis.estimands["x"], table, document.design, resampling(document), strict=True)}
verdict = judge(hypothesis.rule, seen)
effect = {"metric": "M2", "where": {}, "mean": 0.5, "sd": 0.2}
dependence = {"M2": {"perturbation": 0.3, "strength": 0.3}}
world = {"kind": "given", "says": "a world", "effects": [effect], "dependence": dependence}
world["expects"] = {"H1": "confirmed"}
few = {"studies": 200, "null_studies": 50, "curve_studies": 50, "resamples": 1000, "seed": 1}
plan = Plan.model_validate({"scenarios": {"one": world}, **few})
json.dump(
    {
        "package": vjepa_stress.__file__,
        "same": again == document,
        "interval": [seen["x"].value, seen["x"].low, seen["x"].high],
        "expected": float(np.median(table.values["M2"].mean(1))),
        "outcome": verdict.outcome,
        "words": [words.estimand(hypothesis.estimands["x"]), words.rule(hypothesis.rule)],
        "explained": verdicts.explain(verdict, seen, "{:.1f}".format),
        "p": p_value(hypothesis, table, document),
        "findings": [[one.severity, one.code] for one in check(document, plan)],
        "out of range": [one.code for one in check(beyond) if one.severity == "error"],
        "confirmed": operating_characteristics(document, plan).chances["one"]["H1"].confirmed.p,
    },
    sys.stdout,
)
"""


def test_a_new_statistic_and_a_new_rule_are_one_file_each(tmp_path: Path) -> None:
    """They are put into a copy of the package, and nothing else of it changes."""
    weights = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.npz")
    shutil.copytree(PACKAGE, tmp_path / "vjepa_stress", ignore=weights)
    (tmp_path / "vjepa_stress" / "statistics" / "median.py").write_text(NEW_STATISTIC)
    (tmp_path / "vjepa_stress" / "rules" / "at_most.py").write_text(NEW_RULE)
    (tmp_path / "tests" / "verdict").mkdir(parents=True)
    for name in ("__init__.py", "verdict/__init__.py", "verdict/sketch.py"):
        shutil.copyfile(Path(__file__).parents[1] / name, tmp_path / "tests" / name)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", USE], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = TypeAdapter(dict[str, Any]).validate_json(done.stdout)
    assert said["package"] == str(tmp_path / "vjepa_stress" / "__init__.py")
    assert said["same"]
    assert said["interval"][0] == pytest.approx(said["expected"], abs=1e-12)
    assert said["outcome"] == "confirmed"
    assert said["words"] == [
        "median M2",
        "all_of of 2 (confirmed needs all, refuted needs one), each part: interval at most 0.9, refuted above; "
        "or the whole interval at or above 0.1, refuted below 0",
    ]
    value, low, high = said["interval"]
    assert said["explained"].splitlines()[1] == (
        f"  confirmed, at_most: the interval of x is at most 0.9; x = {value:.1f} [{low:.1f}, {high:.1f}], n = 30"
    )
    assert 0 < said["p"] < 0.05
    assert {code for severity, code in said["findings"] if severity == "error"} == {"no-refuting-scenario"}
    assert said["out of range"] == ["out-of-range", "vacuous", "hardly-fails", "no-scenarios"]
    assert said["confirmed"] == 1
