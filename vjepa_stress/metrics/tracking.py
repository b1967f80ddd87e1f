"""M3: how well the first frame's object masks can be carried through a clip by matching features.

Propagation follows the DAVIS protocol of DINO (Caron et al., arXiv:2104.14294, section 4.2), after Jabri et al.
(arXiv:2006.14613): every position copies the labels of the most similar positions of earlier frames. Regions are then
scored as DAVIS does. Definitions and edge cases: `docs/metrics.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from pydantic import Field
from torch import Tensor

from vjepa_stress.blocks import Compares
from vjepa_stress.interfaces import Features, Measurement, Metric, Observation, PerClip, RegionScores, one_thread
from vjepa_stress.metrics.masks import score_objects

ClipFeatures = Float[Tensor, "t h w d"]
Labels = Float[Tensor, "t k h w"]
Maps = Float[Tensor, "k height width"]
ClipMasks = Int64[Tensor, "frames height width"]
BatchMasks = Int64[Tensor, "b frames height width"]
Rows = Float[Tensor, "targets sources"]

_TARGETS = 512
"""About how many targets are compared at once: enough for a fast product, few enough for little memory and few
sources outside their windows. Whole rows: the products of smaller tiles are slower by more than they leave out."""


def propagate_labels(
    features: ClipFeatures,
    first: Float[Tensor, "k h w"],
    *,
    context: int,
    radius: int,
    topk: int,
    temperature: float,
) -> Labels:
    """Carry the labels of position 0 through a clip.

    A target position looks at position 0 and at up to `context` positions before its own, within a square of
    `radius` patches around it. Of all these sources together the `topk` most similar, and any tied with the last of
    them, give it their labels, weighted by exp(cosine / temperature), the weights scaled to a sum of one.

    Args:
        features: (T, H, W, D), finite; computed in float32, or in float64 if they are.
        first: (K, H, W) soft labels of position 0.
        context: earlier temporal positions beside position 0; at least 0.
        radius: in patches; 0 for no limit.
        topk: at least 1.
        temperature: above 0.

    Returns:
        (T, K, H, W) soft labels in the type of `first`; the first of them is `first` itself.

    Raises:
        ValueError: for features that are not finite, and for parameters out of range.
    """
    if context < 0 or radius < 0 or topk < 1 or not temperature > 0:
        raise ValueError(f"out of range: context {context}, radius {radius}, topk {topk}, temperature {temperature}")
    positions, height, width, channels = features.shape
    vectors = features.reshape(positions, height * width, channels)
    vectors = vectors.to(torch.promote_types(features.dtype, torch.float32))
    length = torch.linalg.vector_norm(vectors, dim=-1)
    if not bool(length.isfinite().all()):
        raise ValueError("labels cannot be propagated with features that are not finite")
    shrink = length.clamp_min_(1e-12).reciprocal_()
    slots = _slots(positions, context).to(vectors.device)
    found = _Matches.empty(positions, height * width, min(topk, slots.shape[1] * height * width), vectors)
    # Which sources count does not depend on the labels: all of it is found first, a band of targets at a time.
    bands = _bands(positions, height, width, radius, vectors.device) if positions > 1 else []
    pairs = len(slots) * max((band.outside.numel() for band in bands), default=0)
    room = vectors.new_empty(1 + slots.shape[1], pairs)  # for all bands: fresh memory costs a tenth of the work
    for band in bands:
        _match(vectors, shrink, band, slots, temperature, room, found)
    labels = first.new_zeros(positions, height * width, first.shape[0])
    labels[0] = first.flatten(1).T
    for t in range(1, positions):
        given = labels[slots[t - 1].clamp_min(0)].flatten(0, 1)
        weights = found.weights[t - 1].to(given.dtype)
        labels[t] = torch.einsum("nk,nkc->nc", weights, given[found.sources[t - 1]])
        for undecided in found.undecided.get(t, ()):
            weights = _decided(vectors, t, slots[t - 1], undecided, topk, temperature)
            labels[t, undecided.targets] = (weights @ given[undecided.sources].double()).to(labels.dtype)
    return labels.transpose(1, 2).reshape(positions, -1, height, width)


def _slots(positions: int, context: int) -> Int64[Tensor, "steps slots"]:
    """Which temporal positions give labels to 1, 2, …: 0, and those just before; −1 where there are not that many.

    A position keeps its slot for as long as it is looked at.
    """
    table = torch.full((max(positions - 1, 0), min(context + 1, max(positions - 1, 1))), -1)
    table[:, 0] = 0
    for t in range(1, positions):
        for frame in range(max(1, t - context), t):
            table[t - 1, 1 + (frame - 1) % context] = frame
    return table


@dataclass(frozen=True)
class _Band:
    """Some rows of targets, the rows that hold all their sources, and −∞ (targets, sources) where one is too far."""

    targets: slice
    sources: slice
    outside: Rows


def _bands(positions: int, height: int, width: int, radius: int, device: torch.device) -> list[_Band]:
    reach = radius or max(height, width)
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device)
    far_column = (columns[:, None] - columns).abs() > reach
    tall = max(1, _TARGETS // (positions - 1) // width)
    bands = []
    for top in range(0, height, tall):
        bottom, first, last = min(height, top + tall), max(0, top - reach), min(height, top + tall + reach)
        far_row = (rows[top:bottom, None] - rows[first:last]).abs() > reach
        far = (far_row[:, None, :, None] | far_column[:, None]).flatten(2).flatten(0, 1)
        outside = torch.zeros(far.shape, device=device).masked_fill_(far, -torch.inf)
        bands.append(_Band(slice(top * width, bottom * width), slice(first * width, last * width), outside))
    return bands


@dataclass(frozen=True)
class _Undecided:
    """Targets of one temporal position that more sources than k may count for.

    Attributes:
        sources: all that may count for any of them, numbered as in `_Matches`.
        outside: 0, or −∞ for a source outside the target's window.
    """

    targets: Int64[Tensor, " targets"]
    sources: Int64[Tensor, " sources"]
    outside: Rows


@dataclass(frozen=True)
class _Matches:
    """From where the labels of the temporal positions 1, 2, … come.

    Attributes:
        sources: for each target, numbers into the flattened (slots, positions of the grid).
        weights: their shares; 0 where there are fewer sources than k.
        undecided: by temporal position, a band at a time.
    """

    sources: Int64[Tensor, "steps n k"]
    weights: Float[Tensor, "steps n k"]
    undecided: dict[int, list[_Undecided]]

    @classmethod
    def empty(cls, positions: int, grid: int, kept: int, like: Tensor) -> _Matches:
        shape = (max(positions - 1, 0), grid, kept)
        return cls(torch.zeros(shape, dtype=torch.int64, device=like.device), like.new_zeros(shape), {})


def _match(
    vectors: Float[Tensor, "t n d"],
    shrink: Float[Tensor, "t n"],
    band: _Band,
    slots: Int64[Tensor, "steps slots"],
    temperature: float,
    room: Float[Tensor, "planes pairs"],
    found: _Matches,
) -> None:
    """Find the most similar sources of a band's targets, at all temporal positions.

    Args:
        vectors: features, of any length.
        shrink: what makes them unit vectors.
        room: memory to work in, for one plane more than there are slots.
        found: takes what is found.
    """
    (many, near), (steps, count) = band.outside.shape, slots.shape
    room = room[:, : steps * many * near].view(1 + count, steps, many, near)
    largest, similar = room[0].fill_(-torch.inf), room[1:]
    wanted = vectors[1:, band.targets] * shrink[1:, band.targets, None]
    for slot in range(count):
        users = slots[:, slot].tolist()
        for frame in dict.fromkeys(user for user in users if user >= 0):
            # One product for all later positions that look at this one.
            which = slice(users.index(frame), users.index(frame) + users.count(frame))
            out = similar[slot, which].flatten(0, 1)
            torch.mm(wanted[which].flatten(0, 1), vectors[frame, band.sources].T, out=out)
            out.mul_(shrink[frame, band.sources])
            torch.maximum(largest[which], similar[slot, which], out=largest[which])
    # The best of a place over all frames first: the window is the same for all, and few places are left to sort.
    kept = found.sources.shape[2]
    best, places = largest.add_(band.outside).topk(min(kept + 1, near), dim=2)
    few = similar.gather(3, places.expand(count, -1, -1, -1))
    absent = (slots < 0).T[:, :, None, None]
    few = few.masked_fill_(absent | (best == -torch.inf), -torch.inf).permute(1, 2, 0, 3).flatten(2)
    best, where = few.topk(min(kept + 1, few.shape[2]), dim=2)
    weights = ((best[..., :kept] - best[..., :1]) / temperature).exp_()
    where = where[..., :kept]
    sources = where // places.shape[2] * vectors.shape[1] + band.sources.start
    sources += places.gather(2, where % places.shape[2])
    found.weights[:, band.targets, : sources.shape[2]] = weights / weights.sum(2, keepdim=True)
    found.sources[:, band.targets, : sources.shape[2]] = sources
    # The order of what rounding cannot tell apart depends on how a product is split up.
    least = best[..., kept - 1 : kept] - 8 * torch.finfo(vectors.dtype).eps
    tied = (best[..., kept:] >= least) & best[..., kept:].isfinite()
    for step in tied.any(1).nonzero()[:, 0].tolist():
        targets = tied[step].nonzero()[:, 0]
        outside = band.outside[targets]
        close = similar[:, step, targets] + outside >= least[step, targets]
        seen_in, place = (close & ~absent[:, step]).any(1).nonzero(as_tuple=True)
        sources = seen_in * vectors.shape[1] + band.sources.start + place
        undecided = _Undecided(targets + band.targets.start, sources, outside[:, place])
        found.undecided.setdefault(step + 1, []).append(undecided)


def _decided(
    vectors: Float[Tensor, "t n d"],
    t: int,
    slots: Int64[Tensor, " slots"],
    undecided: _Undecided,
    topk: int,
    temperature: float,
) -> Float64[Tensor, "targets sources"]:
    """Shares of the sources, by unit vectors in float64; what its rounding makes equal is tied, and stays."""
    frames, places = slots[undecided.sources // vectors.shape[1]], undecided.sources % vectors.shape[1]
    targets = F.normalize(vectors[t, undecided.targets].double(), dim=-1)
    sources = F.normalize(vectors[frames, places].double(), dim=-1)
    similar = torch.addmm(undecided.outside.double(), targets, sources.T)
    best = similar.topk(min(topk, similar.shape[1]), dim=1).values
    weights = ((similar - best[:, :1]) / temperature).exp_()
    weights[similar < best[:, -1:] - 8 * torch.finfo(torch.float64).eps] = 0
    return weights / weights.sum(1, keepdim=True)


def first_labels(
    ids: Int64[Tensor, "height width"], objects: Sequence[int], grid: tuple[int, int]
) -> Float[Tensor, "k h w"]:
    """Background and objects of an annotated frame as shares of each patch.

    Args:
        ids: (H, W) object ids.
        objects: ids to label; everything else is background.
        grid: patches down and across.

    Returns:
        (1 + objects, *grid) float32; the channels of a patch add up to one.
    """
    wanted = torch.tensor(list(objects), device=ids.device)
    shares = (ids == wanted[:, None, None]).float()
    pixels = torch.cat([1 - shares.sum(0, keepdim=True), shares])
    return F.adaptive_avg_pool2d(pixels, grid)


def segment(soft: Float[Tensor, "k h w"], size: tuple[int, int]) -> Int64[Tensor, "height width"]:
    """Read soft labels on the patch grid as one channel for each of `size` pixels; of equals the first."""
    maps = F.interpolate(soft[None], size=size, mode="bilinear", align_corners=False)[0]
    return stretched(maps).argmax(0)


def stretched(maps: Maps) -> Maps:
    """Scale every map that is positive anywhere to [0, 1]; one that is the same everywhere stays as it is."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    varies = (high > 0) & (high > low)
    return torch.where(varies, (maps - low) / torch.where(varies, high - low, 1), maps)


@dataclass(frozen=True)
class Tracked:
    """How well the objects of one clip were followed.

    Attributes:
        objects: ids in the first annotation.
        region: J (objects, T' − 1), of the temporal positions after the first.
        contour: F, likewise.
    """

    objects: tuple[int, ...]
    region: Float64[np.ndarray, "objects positions"]
    contour: Float64[np.ndarray, "objects positions"]

    @property
    def scores(self) -> RegionScores:
        """J and F of each object, as means over positions."""
        return RegionScores(self.objects, tuple(self.region.mean(1).tolist()), tuple(self.contour.mean(1).tolist()))

    @property
    def value(self) -> float:
        """M3: mean over objects of (J + F) / 2; NaN without objects."""
        return float((self.region.mean(1) + self.contour.mean(1)).mean() / 2) if self.objects else float("nan")


def track(
    features: ClipFeatures, masks: ClipMasks, *, context: int, radius: int, topk: int, temperature: float
) -> Tracked:
    """Follow the objects of a clip's first frame, and score each later temporal position.

    A temporal position stands for the first frame of its tubelet. Objects that the first frame does not show do not
    count.

    Args:
        features: (T', H', W', D), finite, T' ≥ 2.
        masks: (T, H, W) object ids of the clean clip, 0 for background; T is a multiple of T'.
        context, radius, topk, temperature: as in `propagate_labels`.

    Raises:
        ValueError: for frames that do not divide into temporal positions, and as `propagate_labels`.
    """
    if len(features) < 2 or len(masks) % len(features):
        raise ValueError(f"{len(masks)} frames of masks do not fit {len(features)} temporal positions")
    shown = masks[:: len(masks) // len(features)]
    objects = tuple(number for number in torch.unique(shown[0]).tolist() if number > 0)
    if not objects:
        nothing = np.empty((0, len(shown) - 1))
        return Tracked((), nothing, nothing)
    size = (shown.shape[1], shown.shape[2])
    with one_thread():
        first = first_labels(shown[0], objects, (features.shape[1], features.shape[2]))
        soft = propagate_labels(features, first, context=context, radius=radius, topk=topk, temperature=temperature)
        channels = torch.stack([segment(maps, size) for maps in soft[1:]])
    found = torch.tensor([0, *objects], device=channels.device)[channels]
    return Tracked(objects, *score_objects(found.cpu().numpy(), shown[1:].cpu().numpy(), objects))


class FunctionalUtility(Metric):
    """M3, and how much of the clean clip's M3 is lost: dM3 = M3(clean) − M3(perturbed), positive where it got worse.

    Undefined, with n = 0, for clips without masks or without objects in their first frame, and for perturbations that
    move content: the masks are those of the clean clip.

    Attributes:
        context: earlier temporal positions that are looked at beside the first.
        radius: of the window, in patches; 0 for no limit.
        topk: sources that a position takes its labels from.
        temperature: of the weights; above 0.
    """

    kind: ClassVar[str] = "metric/functional_utility"
    revision: ClassVar[int] = 1
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    compares: ClassVar[Compares] = "regions"
    columns: ClassVar[tuple[str, ...]] = ("M3", "dM3")

    context: int = Field(ge=0)
    radius: int = Field(ge=0)
    topk: int = Field(ge=1)
    temperature: float = Field(gt=0, allow_inf_nan=False)

    def of_clean(self, clean: Features, masks: BatchMasks | None) -> PerClip:
        """M3 of the clean clips; NaN where there is none."""
        return self._measure(clean, masks)[0].value

    def __call__(self, seen: Observation) -> dict[str, Measurement]:
        """Follow objects with the perturbed features; the clean clip's M3 is computed where it is not given."""
        masks = seen.masks if seen.in_place else None
        found, scores = self._measure(seen.perturbed, masks)
        before = seen.of_clean
        if before is None:
            before = self.of_clean(seen.clean, masks)
        return {"M3": replace(found, regions=scores), "dM3": replace(found, value=before - found.value)}

    def _measure(
        self, features: Features, masks: BatchMasks | None
    ) -> tuple[Measurement, tuple[RegionScores | None, ...]]:
        values, counts = torch.full((len(features),), torch.nan, dtype=torch.float64), []
        scores: list[RegionScores | None] = []
        for clip, one in enumerate(features):
            lengths = torch.linalg.vector_norm(one.to(torch.promote_types(one.dtype, torch.float32)), dim=-1)
            broken = int((~lengths.isfinite()).sum())
            tracked = None
            if masks is not None and not broken:
                tracked = track(one, masks[clip], **self.model_dump())
                values[clip] = tracked.value
            scores.append(tracked.scores if tracked and tracked.objects else None)
            counts.append((tracked.region.size if tracked else 0, 0, 0, broken))
        n, both_zero, one_zero, non_finite = torch.tensor(counts, dtype=torch.int64).reshape(-1, 4).T
        return Measurement(values, n, both_zero, one_zero, non_finite), tuple(scores)
