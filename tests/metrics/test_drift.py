"""M1 and M2 against golden values, closed forms and invariants."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vjepa_stress.interfaces import Observation
from vjepa_stress.metrics.drift import (
    FrameFidelity,
    TemporalConsistency,
    frame_fidelity,
    measure_frames,
    measure_gradients,
    temporal_consistency,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "f_metrics"
CASES = json.loads((GOLDEN / "expected.json").read_text())["cases"]
ARRAYS = np.load(GOLDEN / "arrays.npz")
METRICS = {"M1": measure_frames, "M2": measure_gradients}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("case", CASES)
def test_golden(case: str, metric: str, dtype: torch.dtype, tolerance: float) -> None:
    entry = CASES[case]
    expected = entry.get(metric)
    clean, perturbed = (torch.from_numpy(ARRAYS[entry[side]]).to(dtype)[None] for side in ("clean", "perturbed"))
    if expected is None:
        with pytest.raises(ValueError, match="two temporal positions"):
            METRICS[metric](clean, perturbed)
        return
    found = METRICS[metric](clean, perturbed)
    for count in ("n", "n_both_zero", "n_one_zero", "n_non_finite"):
        assert int(getattr(found, count)) == expected[count]
    if expected["exclude"] is None or expected["n_non_finite"]:
        assert math.isnan(float(found.value))
    else:
        assert float(found.value) == pytest.approx(expected["exclude"], abs=tolerance)


def random_features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("positions", [4, 7, 8, 16])
def test_reversed_independent_frames_meet_the_closed_form(positions: int) -> None:
    # Even T: T/(T−1). Odd T: (T−2)/(T−1) for large D (derivation in the golden README).
    features = random_features(400, positions, 2, 2, 256, seed=positions)
    found = temporal_consistency(features, features.flip(1))
    even = positions % 2 == 0
    expected = positions / (positions - 1) if even else (positions - 2) / (positions - 1)
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean()) - expected) < 4 * error + (0 if even else 1e-3)


def test_reversal_of_features_is_undone_exactly_by_alignment() -> None:
    features = random_features(3, 8, 4, 4, 16)
    every = torch.ones(4, 4, dtype=torch.bool)
    seen = Observation(features, features.flip(1), features.flip(1).flip(1), every, in_place=False)
    measured = TemporalConsistency()(seen) | FrameFidelity()(seen)
    assert float(measured["M2a"].value.abs().max()) <= 1e-12
    assert float(measured["M1a"].value.abs().max()) <= 1e-12
    assert float(measured["M2"].value.min()) > 0.5
    # The same by the formula of the design: g_clean[t] against −g_perturbed[T'−2−t].
    gradients, reversed_ = features.diff(dim=1), features.flip(1).diff(dim=1)
    torch.testing.assert_close(gradients, -reversed_.flip(1))


def test_identity_is_at_the_noise_floor() -> None:
    features = random_features(2, 8, 4, 4, 768).float()
    for metric in (frame_fidelity, temporal_consistency):
        assert float(metric(features, features.clone()).abs().max()) <= 1e-8


@pytest.mark.parametrize("metric", [frame_fidelity, temporal_consistency])
def test_invariances(metric: object) -> None:
    assert callable(metric)
    clean, perturbed = random_features(4, 5, 3, 2, 8), random_features(4, 5, 3, 2, 8, seed=1)
    value = metric(clean, perturbed)
    torch.testing.assert_close(metric(perturbed, clean), value)
    torch.testing.assert_close(metric(clean * 1e-20, perturbed * 1e12), value)
    torch.testing.assert_close(metric(clean, -perturbed), 2 - value)
    rotation = torch.linalg.qr(random_features(8, 8, seed=2)).Q
    torch.testing.assert_close(metric(clean @ rotation, perturbed @ rotation), value)
    alone = torch.cat([metric(clean[i : i + 1], perturbed[i : i + 1]) for i in range(4)])
    assert torch.equal(alone, value)


def test_gradients_ignore_what_does_not_move() -> None:
    clean, perturbed = random_features(2, 5, 3, 3, 8), random_features(2, 5, 3, 3, 8, seed=1)
    still = random_features(2, 1, 3, 3, 8, seed=2)
    torch.testing.assert_close(
        temporal_consistency(clean + still, perturbed - still), temporal_consistency(clean, perturbed)
    )


def test_rounding_noise_of_a_static_clip_is_no_gradient() -> None:
    frame = random_features(1, 1, 4, 4, 32).float()
    static = frame.expand(1, 8, 4, 4, 32).clone()
    static[:, 3] *= 1 + 2**-23
    found = measure_gradients(static, static)
    assert math.isnan(float(found.value))
    assert int(found.n_both_zero) == int(found.n) == 7 * 16


def test_positions_without_counterpart_are_left_out() -> None:
    clean, perturbed = random_features(1, 4, 3, 3, 8), random_features(1, 4, 3, 3, 8, seed=1)
    only = torch.zeros(3, 3, dtype=torch.bool)
    only[1, 2] = True
    found = measure_frames(clean, perturbed, only)
    assert int(found.n) == 4
    expected = frame_fidelity(clean[:, :, 1:2, 2:3], perturbed[:, :, 1:2, 2:3])
    torch.testing.assert_close(found.value, expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_cuda_agrees() -> None:
    clean, perturbed = random_features(2, 8, 6, 6, 64).float(), random_features(2, 8, 6, 6, 64, seed=1).float()
    for metric in (frame_fidelity, temporal_consistency):
        torch.testing.assert_close(metric(clean.cuda(), perturbed.cuda()).cpu(), metric(clean, perturbed))
