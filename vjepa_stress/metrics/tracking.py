"""M3: accuracy of the first frame's object masks when they are propagated through a clip by matching features.

Propagation follows the DAVIS protocol of DINO (Caron et al., arXiv:2104.14294, section 4.2), after Jabri et al.
(arXiv:2006.14613): every position takes the labels of the most similar positions of earlier frames. Regions are
scored as in DAVIS. Definitions and edge cases: `docs/metrics.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from vjepa_stress.interfaces import RegionScores, one_thread
from vjepa_stress.metrics.masks import score_objects

ClipFeatures = Float[Tensor, "t h w d"]
Labels = Float[Tensor, "t k h w"]
Maps = Float[Tensor, "k height width"]
ClipMasks = Int64[Tensor, "frames height width"]
Rows = Float[Tensor, "targets sources"]

_TARGETS = 512
"""Approximate number of targets compared at once: enough for a fast product, few enough to use little memory and to
include few sources outside the windows. Bands are whole rows: smaller tiles cost more time than they save."""


def propagate_labels(
    features: ClipFeatures,
    first: Float[Tensor, "k h w"],
    *,
    context: int,
    radius: int,
    topk: int,
    temperature: float,
) -> Labels:
    """Propagate the labels of temporal position 0 through a clip.

    The sources of a target are the patches of position 0 and of up to `context` positions before its own, within a
    square of `radius` patches around it. The label of the target is the weighted mean over the `topk` most similar
    sources, and any tied with the last of them. Weights are exp(cosine / temperature), scaled to a sum of one.

    Args:
        features: (T, H, W, D), finite; computed in float64 if they have that dtype, otherwise in float32.
        first: (K, H, W) soft labels of position 0.
        context: number of earlier temporal positions in addition to position 0; at least 0.
        radius: radius of the window in patches; 0 for no limit.
        topk: number of sources; at least 1.
        temperature: above 0.

    Returns:
        (T, K, H, W) soft labels in the dtype of `first`; the first of them is `first` itself.

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
        raise ValueError("cannot propagate labels: some features are not finite")
    shrink = length.clamp_min_(1e-12).reciprocal_()
    slots = _slots(positions, context).to(vectors.device)
    found = _Matches.empty(positions, height * width, min(topk, slots.shape[1] * height * width), vectors)
    # The sources do not depend on the labels: find all of them first, one band of targets at a time.
    bands = _bands(positions, height, width, radius, vectors.device) if positions > 1 else []
    pairs = len(slots) * max((band.outside.numel() for band in bands), default=0)
    buffer = vectors.new_empty(1 + slots.shape[1], pairs)  # shared by all bands: allocation costs a tenth of the time
    for band in bands:
        _match(vectors, shrink, band, slots, temperature, buffer, found)
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
    """Source positions of the temporal positions 1, 2, …: position 0 and those just before; −1 for an empty slot.

    A source position keeps its slot as long as it is used.
    """
    table = torch.full((max(positions - 1, 0), min(context + 1, max(positions - 1, 1))), -1)
    table[:, 0] = 0
    for t in range(1, positions):
        for frame in range(max(1, t - context), t):
            table[t - 1, 1 + (frame - 1) % context] = frame
    return table


@dataclass(frozen=True)
class _Band:
    """A band of rows: its targets, all their sources, and (targets, sources) −∞ for sources outside the window."""

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
    """Targets of one temporal position for which more than k sources may tie.

    Attributes:
        targets: numbers of the targets.
        sources: all candidate sources of any of them, numbered as in `_Matches`.
        outside: 0, or −∞ for a source outside the target's window.
    """

    targets: Int64[Tensor, " targets"]
    sources: Int64[Tensor, " sources"]
    outside: Rows


@dataclass(frozen=True)
class _Matches:
    """Sources of the labels of the temporal positions 1, 2, ….

    Attributes:
        sources: for each target, indices into the flattened (slots, positions of the grid).
        weights: weights of the sources; 0 if there are fewer than k sources.
        undecided: targets with possible ties, by temporal position, one entry per band.
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
    buffer: Float[Tensor, "planes pairs"],
    found: _Matches,
) -> None:
    """Find the most similar sources of a band's targets, at all temporal positions.

    Args:
        vectors: features, of any length.
        shrink: factors that scale them to unit length.
        band: the targets and their sources.
        slots: source positions of each temporal position, as from `_slots`.
        temperature: of the weights.
        buffer: scratch memory, with one plane more than there are slots.
        found: receives the matches.
    """
    (many, near), (steps, count) = band.outside.shape, slots.shape
    buffer = buffer[:, : steps * many * near].view(1 + count, steps, many, near)
    largest, similar = buffer[0].fill_(-torch.inf), buffer[1:]
    wanted = vectors[1:, band.targets] * shrink[1:, band.targets, None]
    for slot in range(count):
        users = slots[:, slot].tolist()
        for frame in dict.fromkeys(user for user in users if user >= 0):
            # One product for all later positions that use this one.
            which = slice(users.index(frame), users.index(frame) + users.count(frame))
            out = similar[slot, which].flatten(0, 1)
            torch.mm(wanted[which].flatten(0, 1), vectors[frame, band.sources].T, out=out)
            out.mul_(shrink[frame, band.sources])
            torch.maximum(largest[which], similar[slot, which], out=largest[which])
    # Take the maximum over frames first: the window is the same for all frames, and few places remain to be sorted.
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
    # The order of similarities that are equal within rounding depends on how a product is split.
    least = best[..., kept - 1 : kept] - 8 * torch.finfo(vectors.dtype).eps
    tied = (best[..., kept:] >= least) & best[..., kept:].isfinite()
    for step in tied.any(1).nonzero()[:, 0].tolist():
        targets = tied[step].nonzero()[:, 0]
        outside = band.outside[targets]
        close = similar[:, step, targets] + outside >= least[step, targets]
        slot_of, place = (close & ~absent[:, step]).any(1).nonzero(as_tuple=True)
        sources = slot_of * vectors.shape[1] + band.sources.start + place
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
    """Weights of the sources from unit vectors in float64; sources that tie within rounding are all kept."""
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
    """Share of background and of each object in each patch of an annotated frame.

    Args:
        ids: (H, W) object ids.
        objects: ids to label; all other pixels are background.
        grid: rows and columns of patches.

    Returns:
        (1 + objects, *grid) float32; the channels of a patch sum to one.
    """
    wanted = torch.tensor(list(objects), device=ids.device)
    shares = (ids == wanted[:, None, None]).float()
    pixels = torch.cat([1 - shares.sum(0, keepdim=True), shares])
    return F.adaptive_avg_pool2d(pixels, grid)


def segment(soft: Float[Tensor, "k h w"], size: tuple[int, int]) -> Int64[Tensor, "height width"]:
    """Upsample soft labels to `size` pixels and take the largest channel of each; the first one if channels tie."""
    maps = F.interpolate(soft[None], size=size, mode="bilinear", align_corners=False)[0]
    return stretched(maps).argmax(0)


def stretched(maps: Maps) -> Maps:
    """Scale each map with a positive value to [0, 1]; constant maps are not changed."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    varies = (high > 0) & (high > low)
    return torch.where(varies, (maps - low) / torch.where(varies, high - low, 1), maps)


@dataclass(frozen=True)
class Tracked:
    """Tracking accuracy of the objects of one clip.

    Attributes:
        objects: ids in the first annotation.
        region: J (objects, T' − 1) at the temporal positions after the first.
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
    """Track the objects of a clip's first frame, and score each later temporal position.

    A temporal position is scored on the first frame of its tubelet. Objects that are not in the first frame do not
    count.

    Args:
        features: (T', H', W', D), finite, T' ≥ 2.
        masks: (T, H, W) object ids of the clean clip, 0 for background; T is a multiple of T'.
        context, radius, topk, temperature: as in `propagate_labels`.

    Raises:
        ValueError: for frames that do not divide into temporal positions, and as `propagate_labels`.
    """
    return followed(features, masks, context=context, radius=radius, topk=topk, temperature=temperature).scored()


@dataclass(frozen=True)
class Followed:
    """Objects of a clip, followed but not scored yet.

    Attributes:
        objects: ids in the first annotation.
        found: (T' − 1, H, W) object ids that were found at the temporal positions after the first.
        truth: (T' − 1, H, W) annotated object ids.
    """

    objects: tuple[int, ...]
    found: Int64[Tensor, "positions height width"]
    truth: Int64[Tensor, "positions height width"]

    def scored(self) -> Tracked:
        """Score the objects on the CPU."""
        if not self.objects:
            nothing = np.empty((0, len(self.truth)))
            return Tracked((), nothing, nothing)
        found, truth = self.found.cpu().numpy(), self.truth.cpu().numpy()
        return Tracked(self.objects, *score_objects(found, truth, self.objects))


def followed(
    features: ClipFeatures, masks: ClipMasks, *, context: int, radius: int, topk: int, temperature: float
) -> Followed:
    """The part of `track` that runs on the device of the features: follow the objects through the clip."""
    if len(features) < 2 or len(masks) % len(features):
        raise ValueError(f"{len(masks)} frames of masks do not divide into {len(features)} temporal positions")
    shown = masks[:: len(masks) // len(features)]
    objects = tuple(number for number in torch.unique(shown[0]).tolist() if number > 0)
    if not objects:
        return Followed((), shown[1:], shown[1:])
    size = (shown.shape[1], shown.shape[2])
    with one_thread():
        first = first_labels(shown[0], objects, (features.shape[1], features.shape[2]))
        soft = propagate_labels(features, first, context=context, radius=radius, topk=topk, temperature=temperature)
        channels = torch.stack([segment(maps, size) for maps in soft[1:]])
    return Followed(objects, torch.tensor([0, *objects], device=channels.device)[channels], shown[1:])
