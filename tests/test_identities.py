"""What identifies a building block: its kind, its revision and its fields, and never where its code lies."""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
import yaml

import vjepa_stress
from tests.small import study
from vjepa_stress.blocks import Block
from vjepa_stress.data import procedural
from vjepa_stress.errors import BadConfiguration, IdentityChanged
from vjepa_stress.interfaces import Dataset, Encoder, Metric, Perturbation
from vjepa_stress.perturb import gaussian_noise
from vjepa_stress.provenance import shipped
from vjepa_stress.sweep.bind import Blocks, bind, rebuild

# A row changes only where its block is meant to be another one from now on. Where the same fields come to mean other
# numbers, the revision grows; a kind never changes.
KNOWN = """
data          davis                dataset/davis                1  637421120063601e
data          demo_procedural      dataset/procedural           1  9140a0286278b42e
data          demo_tracking        dataset/procedural           1  40068f0af63ef759
data          folder               dataset/folder               2  ce02f27d013355a9
data          footage              dataset/folder               2  9661e9f2f4ba1728
data          procedural           dataset/procedural           1  238ed85e1be28ec8
data          procedural_held_out  dataset/procedural           1  4c0e51ff84d8a824
data          procedural_tracking  dataset/procedural           1  22617c241809b667
data          ssv2                 dataset/ssv2                 1  8f4d6a8bfb706b80
metric        M1                   metric/frame_fidelity        1  7a1fece7189f1dee
metric        M2                   metric/temporal_consistency  1  be2e88a384a74520
metric        M3                   metric/functional_utility    1  c71a1172ee8b57a7
model         base                 encoder/vjepa21_released     1  d2bd4c62fd6c82b4
model         giant                encoder/vjepa21_released     1  7b9dde293b20cb83
model         gigantic             encoder/vjepa21_released     1  eae64b2fbf8c826a
model         large                encoder/vjepa21_released     1  90db7ad905582e02
model         pixels               encoder/raw_pixels           1  d3f9ac151b8af7f8
model         pixels_8             encoder/raw_pixels           1  edf427148ce88f25
model         pocket_a             encoder/vjepa21_stored       1  ff480884671b0535
model         pocket_b             encoder/vjepa21_stored       1  115ec3072af0196a
model         pocket_c             encoder/vjepa21_stored       1  a60d44855c6e751d
model         pocket_d             encoder/vjepa21_stored       1  a1e3cf5ac3fdefe4
model         pocket_d_untrained   encoder/vjepa21_seeded       1  b8898086877105cb
model         tiny                 encoder/vjepa21_seeded       1  58b06e636d7dc318
model         tiny_wide            encoder/vjepa21_seeded       1  e9a361757519bf01
perturbation  camera_roll          perturbation/camera_roll     1  30165685c72a9734
perturbation  compression          perturbation/compression     1  890302418b7b8235
perturbation  frame_drops          perturbation/frame_drops     1  e0ea1c5a04664fc3
perturbation  gaussian_noise       perturbation/gaussian_noise  1  93913b1891d68f02
perturbation  hflip                perturbation/horizontal_flip 1  9249090e6949505a
perturbation  identity             perturbation/identity        1  52a21a846a8babcc
perturbation  low_light            perturbation/low_light       1  9c32a029919cb636
perturbation  motion_blur          perturbation/motion_blur     1  d0fca4b57ac24704
perturbation  occlusion            perturbation/occlusion       1  8397d5aa11fe530a
perturbation  reverse              perturbation/reverse         1  733fced682ff3e04
"""


def loaders(blocks: Blocks) -> dict[str, Callable[[str], Block]]:
    return {
        "data": blocks.dataset,
        "metric": blocks.metric,
        "model": blocks.encoder,
        "perturbation": blocks.perturbation,
    }


def test_every_block_that_ships_is_what_it_was() -> None:
    found = []
    for group, load in loaders(Blocks()).items():
        for path in sorted((shipped("conf") / group).glob("*.yaml")):
            block = load(path.stem)
            kind, revision = block.identity()
            found.append([group, path.stem, kind, str(revision), block.spec_digest().hex[:16]])
    assert found == [line.split() for line in KNOWN.strip().splitlines()]


def classes(base: type[Block]) -> Iterator[type[Block]]:
    for one in base.__subclasses__():
        if one.__module__.startswith("vjepa_stress."):
            yield one
        yield from classes(one)


def test_every_class_has_a_kind_of_its_own_that_nobody_else_has() -> None:
    for module in pkgutil.walk_packages(vjepa_stress.__path__, "vjepa_stress."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    concrete = [one for one in classes(Block) if not inspect.isabstract(one)]
    kinds = [one.identity()[0] for one in concrete]
    assert len(set(kinds)) == len(kinds)
    assert set(kinds) == {line.split()[2] for line in KNOWN.strip().splitlines()}


def test_a_spec_is_kind_revision_and_fields_and_names_no_module() -> None:
    spec = Blocks().perturbation("gaussian_noise").spec()
    assert spec == {"kind": "perturbation/gaussian_noise", "revision": 1, "sigma_at_full": 0.4}
    for load, name in ((Blocks().dataset, "procedural"), (Blocks().encoder, "base"), (Blocks().metric, "M3")):
        assert not [key for key in load(name).spec() if key.startswith("_")]
        assert "vjepa_stress" not in str(load(name).spec())


NUMBERS = itertools.count()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with copies of two modules of this one."""
    package = tmp_path / f"moved_{next(NUMBERS)}"  # a name that no earlier test has imported
    package.mkdir()
    (package / "__init__.py").touch()
    for module in (gaussian_noise, procedural):
        (package / Path(str(module.__file__)).name).write_text(Path(str(module.__file__)).read_text())
    monkeypatch.syspath_prepend(str(tmp_path))
    return package.name


def conf(group: str, name: str) -> dict[str, Any]:
    value: dict[str, Any] = yaml.safe_load((shipped("conf") / group / f"{name}.yaml").read_text())
    return value


def test_a_perturbation_in_another_module_has_the_same_digest_and_gives_the_same_pixels(elsewhere: str) -> None:
    here = Blocks().perturbation("gaussian_noise")
    value = conf("perturbation", "gaussian_noise") | {"_target_": f"{elsewhere}.gaussian_noise.GaussianNoise"}
    there = bind(value, Perturbation, "moved", (elsewhere,))
    assert type(there) is not type(here)
    assert there.spec_digest() == here.spec_digest()
    video = torch.rand(2, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    assert torch.equal(there(video, 0.5, [3, 4]), here(video, 0.5, [3, 4]))
    assert not torch.equal(there(video, 0.5, [3, 4]), video)


def test_a_renderer_in_another_module_has_the_same_digest_and_renders_the_same_pixels(elsewhere: str) -> None:
    here = Blocks().dataset("procedural")
    value = conf("data", "procedural") | {"_target_": f"{elsewhere}.procedural.Procedural"}
    there = bind(value, Dataset, "moved", (elsewhere,))
    assert type(there) is not type(here)
    assert there.spec_digest() == here.spec_digest()
    assert there.identify(None, 4) == here.identify(None, 4)
    clip = here.identify(None, 4)[0]
    assert torch.equal(there.read(clip, None, 48).pixels, here.read(clip, None, 48).pixels)


def test_another_revision_of_a_renderer_renders_other_clips() -> None:
    class Newer(procedural.Procedural):
        kind: ClassVar[str] = "dataset/procedural"
        revision: ClassVar[int] = 2

    fields = conf("data", "procedural")
    del fields["_target_"]
    before, after = (kind.model_validate(fields) for kind in (procedural.Procedural, Newer))
    assert before.spec_digest() != after.spec_digest()
    assert not {c.source for c in before.identify(None, 4)} & {c.source for c in after.identify(None, 4)}


# What is refused


class Child(gaussian_noise.GaussianNoise):
    """Does not say what it is."""


class NoNumber(gaussian_noise.GaussianNoise):
    kind = "perturbation/half"


class OtherType(gaussian_noise.GaussianNoise):
    kind = "encoder/noise"
    revision = 1


class CapitalLetters(gaussian_noise.GaussianNoise):
    kind = "perturbation/Noise"
    revision = 1


class NoRevision(gaussian_noise.GaussianNoise):
    kind = "perturbation/noise"
    revision = 0


class TruthAsRevision(gaussian_noise.GaussianNoise):
    kind = "perturbation/noise"
    revision = True


@pytest.mark.parametrize(
    "kind", [Child, NoNumber, OtherType, CapitalLetters, NoRevision, TruthAsRevision, Perturbation]
)
def test_a_class_that_does_not_declare_kind_and_revision_itself_has_no_spec(kind: type[Perturbation]) -> None:
    with pytest.raises(BadConfiguration) as refused:
        kind.identity()
    assert f"{kind.__module__}.{kind.__name__}" in str(refused.value)
    if not inspect.isabstract(kind):
        with pytest.raises(BadConfiguration, match="does not declare a valid kind and revision"):
            kind.model_validate({"sigma_at_full": 0.1}).spec()


def test_a_class_of_another_type_or_with_methods_missing_is_refused() -> None:
    noise = "vjepa_stress.perturb.gaussian_noise.GaussianNoise"
    with pytest.raises(BadConfiguration, match="is not such a class") as refused:
        bind({"_target_": noise}, Encoder, "noise.yaml")
    assert "a subclass of Encoder" in str(refused.value.expected)
    with pytest.raises(BadConfiguration, match="does not implement identify, load") as refused:
        bind({"_target_": "vjepa_stress.encoders.shaped.Shaped"}, Encoder, "shaped.yaml")
    assert refused.value.fix == "add to the class: identify, load"


def test_the_message_says_what_to_add() -> None:
    with pytest.raises(BadConfiguration) as refused:
        NoNumber(sigma_at_full=0.1).spec_digest()
    assert "found: kind: 'perturbation/half', revision: None" in str(refused.value)
    assert 'kind = "perturbation/no_number" and revision = 1' in str(refused.value)


FOG = """
from vjepa_stress.interfaces import Perturbation

class Fog(Perturbation):
    role = "tier2"
    family = "image-noise"
    correspondence = "in-place"
    DECLARED

    def __call__(self, video, strength, seeds):
        return video + (strength or 0.0) * (1 - video)
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a module with the perturbation Fog, and YAMLs that name it."""

    def write(module: str, declared: str, *names: str) -> Path:
        (tmp_path / f"{module}.py").write_text(FOG.replace("DECLARED", declared))
        folder = tmp_path / "conf" / "perturbation"
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / f"{name}.yaml").write_text(f"_target_: {module}.Fog\n")
        return tmp_path / "conf"

    monkeypatch.syspath_prepend(str(tmp_path))
    return write


def test_a_plugin_without_a_kind_is_refused_with_exit_code_2(plugin: Callable[..., Path], tmp_path: Path) -> None:
    folder = plugin("nameless_fog", "pass", "fog")
    (folder / "data").symlink_to(study.CONF / "data")
    root = study.new_root(tmp_path / "root", study.calibration("few").replace("frame_drops", "fog"))
    draft = root.prereg / "small" / "draft.yaml"
    done = study.command(
        "register", "--root", root.path, draft, "--config-dir", folder, "exec.plugins=[nameless_fog]"
    )
    assert done.code == 2
    assert "nameless_fog.Fog" in done.err
    assert 'kind = "perturbation/fog" and revision = 1' in done.err
    assert not root.ledger.exists()


def test_a_plugin_cannot_take_the_kind_of_a_block_that_ships(plugin: Callable[..., Path]) -> None:
    folder = plugin("false_noise", 'kind = "perturbation/gaussian_noise"; revision = 1', "fog")
    blocks = Blocks(folder, ("false_noise",))
    assert blocks.perturbation("low_light").spec()["kind"] == "perturbation/low_light"
    with pytest.raises(BadConfiguration) as refused:
        blocks.perturbation("fog")
    assert "two classes declare the kind 'perturbation/gaussian_noise'" in str(refused.value)
    assert "vjepa_stress.perturb.gaussian_noise.GaussianNoise" in str(refused.value)
    assert "false_noise.Fog" in str(refused.value)


def test_two_plugins_cannot_share_a_kind_but_two_configurations_of_one_can(plugin: Callable[..., Path]) -> None:
    declared = 'kind = "perturbation/fog"; revision = 1'
    folder = plugin("one_fog", declared, "fog", "mist")
    blocks = Blocks(folder, ("one_fog",))
    assert blocks.perturbation("fog").spec() == blocks.perturbation("mist").spec()
    assert blocks.targets(["perturbation/fog"]) == {"perturbation/fog": "one_fog.Fog"}
    plugin("other_fog", declared, "haze")
    with pytest.raises(BadConfiguration, match="two classes declare"):
        Blocks(folder, ("one_fog", "other_fog")).perturbation("fog")


# Rebuilding what was frozen


def test_every_block_that_ships_is_rebuilt_from_its_spec() -> None:
    bases: tuple[type[Block], ...] = (Dataset, Metric, Encoder, Perturbation)
    blocks = Blocks()
    for (group, load), base in zip(loaders(blocks).items(), bases, strict=True):
        for path in sorted((shipped("conf") / group).glob("*.yaml")):
            block = load(path.stem)
            targets = blocks.targets([block.identity()[0]])
            assert rebuild(block.spec(), targets, base, path.stem) == block


def test_a_spec_of_another_revision_or_with_other_fields_is_not_rebuilt() -> None:
    targets = Blocks().targets(["perturbation/gaussian_noise", "perturbation/low_light"])
    spec = Blocks().perturbation("gaussian_noise").spec()
    for change, said in (({"revision": 2}, "revision: 2"), ({"kind": "perturbation/low_light"}, None)):
        given = targets if said else targets | {"perturbation/low_light": targets["perturbation/gaussian_noise"]}
        with pytest.raises(IdentityChanged) as refused:
            rebuild(spec | change, given, Perturbation, "perturbation noise")
        assert refused.value.exit_code == 3
        assert (said or "kind: 'perturbation/low_light'") in str(refused.value)
        assert "register an amendment" in str(refused.value)
    with pytest.raises(BadConfiguration, match="invalid values"):
        rebuild(spec | {"colour": "white"}, targets, Perturbation, "perturbation noise")
    with pytest.raises(BadConfiguration) as unknown:
        rebuild(spec | {"kind": "perturbation/unknown"}, targets, Perturbation, "perturbation noise")
    assert "exec.plugins" in str(unknown.value)


def test_a_field_that_was_added_with_a_default_is_a_changed_identity(elsewhere: str, tmp_path: Path) -> None:
    path = tmp_path / elsewhere / "gaussian_noise.py"
    path.write_text(path.read_text().replace("    sigma_at_full:", "    mean: float = 0.0\n    sigma_at_full:"))
    targets = {"perturbation/gaussian_noise": f"{elsewhere}.gaussian_noise.GaussianNoise"}
    with pytest.raises(IdentityChanged, match="mean: None"):
        rebuild(Blocks().perturbation("gaussian_noise").spec(), targets, Perturbation, "noise", (elsewhere,))


def test_run_rerun_and_exploring_find_the_class_and_notice_another_revision(
    plugin: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = plugin("whole_fog", 'kind = "perturbation/fog"; revision = 1', "fog")
    (folder / "data").symlink_to(study.CONF / "data")
    root = study.new_root(tmp_path / "root", study.calibration("few").replace("frame_drops", "fog"))
    where = ("--root", root.path)
    with_plugin = ("--config-dir", folder, "exec.plugins=[whole_fog]", "exec.threads=1")
    assert study.command("register", *where, root.prereg / "small" / "draft.yaml", *with_plugin).code == 0
    explore = ("run", "small", *where, "--exploratory", "perturbation=fog", "strength=0.3", *with_plugin)
    assert (done := study.command(*explore)).code == 0, done.err
    assert (done := study.command("run", "small", *where, "-m", *with_plugin)).code == 0, done.err
    every = ("rerun", "small", *where, "--cells", "99")
    assert (done := study.command(*every, *with_plugin)).code == 0, done.err
    done = study.command(*every)
    assert done.code == 2
    assert "no building block of kind 'perturbation/fog'" in done.err

    monkeypatch.setattr(importlib.import_module("whole_fog").Fog, "revision", 2)
    for words in (("run", "small", *where, "-m", *with_plugin), (*every, *with_plugin)):
        done = study.command(*words)
        assert done.code == 3
        assert "expected: revision: 1" in done.err
        assert "found: revision: 2" in done.err
