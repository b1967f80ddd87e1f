"""From configuration text to building blocks: only classes that may be used, only their fields, no coercion."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vjepa_stress.errors import BadConfiguration
from vjepa_stress.interfaces import Dataset, Encoder, Metric, Perturbation
from vjepa_stress.perturb.gaussian_noise import GaussianNoise
from vjepa_stress.sweep.bind import Blocks, ExecConfig, bind, locate, strictly

NOISE = "vjepa_stress.perturb.gaussian_noise.GaussianNoise"
MODULE = """
from vjepa_stress.interfaces import Perturbation


class Tint(Perturbation):
    kind = "perturbation/tint"
    revision = 1
    role = "tier1"
    family = "image-noise"
    correspondence = "in-place"

    times: int
    share: float = 0.5
    colour: str = "red"
    where: tuple[int, ...] = ()
    on: bool = True

    def __call__(self, video, strength, seeds):
        return video


class Half(Perturbation):
    kind = "perturbation/half"
    revision = 1


def tint():
    pass


number = 3
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of a user's own, importable."""
    name = "bound_plugin"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / f"{name}_broken.py").write_text("raise RuntimeError('it does not even start')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    for module in (name, f"{name}_broken"):
        sys.modules.pop(module, None)


def refusal(spec: dict[str, Any], base: Any = Perturbation, plugins: tuple[str, ...] = ()) -> BadConfiguration:
    with pytest.raises(BadConfiguration) as error:
        bind(spec, base, "tint.yaml", plugins)
    return error.value


def test_a_block_is_its_class_with_its_fields(plugin: str) -> None:
    assert bind({"_target_": NOISE, "sigma_at_full": 0.25}, Perturbation, "a") == GaussianNoise(sigma_at_full=0.25)
    spec = {"_target_": f"{plugin}.Tint", "times": 3, "share": 1.0, "where": [1, 2], "on": False}
    block = bind(spec, Perturbation, "tint.yaml", (plugin,))
    assert block.spec() == {
        "kind": "perturbation/tint",
        "revision": 1,
        "times": 3,
        "share": 1.0,
        "colour": "red",
        "where": [1, 2],
        "on": False,
    }
    # A whole number is a number, as everywhere in JSON.
    assert bind({**spec, "share": 1}, Perturbation, "tint.yaml", (plugin,)) == block
    assert "_target_" in spec, "what was given is changed"


@pytest.mark.parametrize(
    "target", [None, 3, "", "Tint", "os.system", "subprocess.Popen", "vjepa_stress_evil.Tint", ".Tint", ["a"]]
)
def test_a_target_outside_the_packages_that_were_named_is_not_imported(target: object) -> None:
    error = refusal({"_target_": target})
    assert (error.where, error.expected) == ("tint.yaml", "_target_ inside vjepa_stress")
    assert error.found == repr(target)


def test_a_plugin_is_imported_only_where_it_is_named(plugin: str) -> None:
    error = refusal({"_target_": f"{plugin}.Tint", "times": 1}, plugins=("another",))
    assert error.expected == "_target_ inside vjepa_stress, another"
    assert error.fix is not None
    assert "exec.plugins=" in error.fix
    assert plugin not in sys.modules


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("vjepa_stress.perturb.nothing.Tint", "ModuleNotFoundError"),
        ("bound_plugin_broken.Tint", "RuntimeError: it does not even start"),
    ],
)
def test_a_module_that_cannot_be_imported(plugin: str, target: str, found: str) -> None:
    error = refusal({"_target_": target}, plugins=("bound_plugin_broken",))
    assert error.where == "tint.yaml"
    assert str(error.found).startswith(found)


@pytest.mark.parametrize(
    ("target", "base"),
    [
        ("vjepa_stress.perturb.gaussian_noise.Missing", Perturbation),
        (NOISE, Encoder),
        (NOISE, Metric),
        (NOISE, Dataset),
        ("vjepa_stress.interfaces.Perturbation", Perturbation),
        ("vjepa_stress.blocks.Block", Perturbation),
        ("vjepa_stress.digest.sha256", Perturbation),
        ("bound_plugin.Half", Perturbation),
        ("bound_plugin.tint", Perturbation),
        ("bound_plugin.number", Perturbation),
    ],
)
def test_what_is_no_block_of_the_type_asked_for(plugin: str, target: str, base: Any) -> None:
    error = refusal({"_target_": target}, base, (plugin,))
    assert error.where == "tint.yaml"
    assert f"of {base.__name__}" in str(error.expected)
    assert str(error.found).startswith(target)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "times: Field required"),
        ({"times": "16"}, "times: Input should be a valid integer, found '16'"),
        ({"times": 1.5}, "times: "),
        ({"times": True}, "times: "),
        ({"times": None}, "times: "),
        ({"times": 1, "share": "half"}, "share: "),
        ({"times": 1, "share": "0.5"}, "share: "),
        ({"times": 1, "colour": 3}, "colour: "),
        ({"times": 1, "on": 1}, "on: "),
        ({"times": 1, "on": "yes"}, "on: "),
        ({"times": 1, "where": 3}, "where: "),
        ({"times": 1, "where": [1, "2"]}, "where.1: "),
        ({"times": 1, "tmies": 2}, "tmies: Extra inputs are not permitted"),
        ({"times": 1, "kind": "perturbation/other"}, "kind: Extra inputs are not permitted"),
        ({"times": 1, "revision": 2}, "revision: Extra inputs are not permitted"),
    ],
)
def test_fields_are_those_of_the_class_and_of_their_types(plugin: str, fields: dict[str, Any], path: str) -> None:
    error = refusal({"_target_": f"{plugin}.Tint", **fields}, plugins=(plugin,))
    assert "Tint" in error.what
    assert error.where == "tint.yaml"
    assert str(error.found).startswith(path)
    if "Extra" in path:
        assert error.expected == "times, share, colour, where, on"


def test_all_mistakes_are_named_at_once(plugin: str) -> None:
    error = refusal({"_target_": f"{plugin}.Tint", "share": "a", "tmies": 2}, plugins=(plugin,))
    assert [one.partition(":")[0] for one in str(error.found).split("; ")] == ["times", "share", "tmies"]


def test_a_class_is_located_without_being_called(plugin: str) -> None:
    found = locate(f"{plugin}.Tint", Perturbation, "tint.yaml", (plugin,))
    assert found.identity() == ("perturbation/tint", 1)
    with pytest.raises(BadConfiguration, match="times: Field required"):
        strictly(found, {}, "tint.yaml")


def test_where_a_sweep_runs_is_as_strict() -> None:
    assert strictly(ExecConfig, {"weights": "w"}, "exec").chunks == 1
    for fields in ({}, {"weights": "w", "threads": 0}, {"weights": "w", "chunks": "2"}, {"weights": "w", "gpu": 1}):
        with pytest.raises(BadConfiguration, match="ExecConfig"):
            strictly(ExecConfig, fields, "exec")


def test_a_name_that_no_yaml_has_lists_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "perturbation").mkdir()
    (tmp_path / "perturbation" / "mine.yaml").write_text(f"_target_: {NOISE}\nsigma_at_full: 0.25\n")
    blocks = Blocks(tmp_path)
    assert blocks.perturbation("mine") == GaussianNoise(sigma_at_full=0.25)
    with pytest.raises(BadConfiguration) as error:
        blocks.perturbation("gausian_noise")
    assert {"gaussian_noise", "mine"} < set(str(error.value.expected).split(", "))
    assert error.value.fix == "did you mean gaussian_noise?"
    with pytest.raises(BadConfiguration, match="named 'mine'"):
        blocks.encoder("mine")
    # The shipped configuration is searched first, so a user cannot replace one of its names.
    (tmp_path / "perturbation" / "hflip.yaml").write_text(f"_target_: {NOISE}\nsigma_at_full: 0.25\n")
    assert type(Blocks(tmp_path).perturbation("hflip")) is not GaussianNoise
