"""The factor `seed`: each index has different draws, and index 0 has the draws of designs without the factor."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.small import study
from vjepa_stress.design.video import VideoCell
from vjepa_stress.digest import digest_of
from vjepa_stress.perturb.seeds import clip_seed
from vjepa_stress.prereg import freeze
from vjepa_stress.records import read_cell

CLIP = digest_of("a clip")


def test_index_zero_is_the_seed_without_an_index() -> None:
    key = digest_of({"seed": 3, "clip": CLIP, "perturbation": "gaussian_noise"})
    assert clip_seed(3, CLIP, "gaussian_noise") == clip_seed(3, CLIP, "gaussian_noise", 0)
    assert clip_seed(3, CLIP, "gaussian_noise") == int(key.hex, 16) % 2**53
    assert len({clip_seed(3, CLIP, "gaussian_noise", index) for index in range(5)}) == 5


def test_cells_of_two_seeds_have_different_noise_and_the_same_clips(tmp_path: Path) -> None:
    draft = (study.HERE / "draft.yaml").read_text()
    draft = draft.replace(
        "perturbation: [gaussian_noise, frame_drops], strength: [0.2, 0.6, 1.0]}",
        "perturbation: [gaussian_noise, frame_drops], strength: [0.2, 0.6, 1.0], seed: [0, 1]}",
    )
    draft = draft.replace("strength: 0.8}}", "strength: 0.8, seed: 0.9}}")
    root = study.new_root(tmp_path / "root", draft)
    assert study.register(root).code == 0
    done = study.run(root, "model=tiny", "perturbation=gaussian_noise", "strength=0.6")
    assert done.code == 0, done.err
    design = freeze.load(root, "small").document.design
    assert [cell["seed"] for cell in design.cells if cell["perturbation"] == "identity"] == [0, 0]
    cells = [read_cell(path) for path in sorted(study.cells(root).iterdir())]
    assert [VideoCell(cell.manifest.cell).seed for cell in cells] == [0, 1]
    first, second = (np.array(cell.table["M2"].to_pylist()) for cell in cells)
    assert cells[0].manifest.units == cells[1].manifest.units
    assert (first != second).all()
    assert study.run(root, "seed=1", "model=tiny", "perturbation=frame_drops").json["cells"] == 3
