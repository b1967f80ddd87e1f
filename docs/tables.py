"""The tables of the pages, computed from `docs/measured/` and from the published numbers (`docs/replay.py`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import replay

from vjepa_stress.report import verdicts
from vjepa_stress.report.numbers import interval, number

HERE = Path(__file__).parent


def measured(name: str) -> dict[str, Any]:
    """The numbers that a benchmark wrote."""
    value: dict[str, Any] = json.loads((HERE / "measured" / f"{name}.json").read_text())
    return value


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def demo() -> str:
    """The verdicts of the demo."""
    rows = []
    for one in measured("demo")["hypotheses"]:
        shown = [
            f"{name} {number(estimate['value'])}"
            + ("" if estimate["low"] == estimate["high"] else f" {interval(estimate['low'], estimate['high'])}")
            for name, estimate in one["estimates"].items()
        ]
        rows.append(
            [
                one["id"],
                one["title"],
                f"**{one['verdict']}**" + (", not specific" if one["not_specific"] else ""),
                "; ".join(shown[:2]) + ("; …" * (len(shown) > 2)),
            ]
        )
    return table(["", "hypothesis", "verdict", "estimates"], rows)


def costs() -> str:
    """Costs with a guaranteed limit, and the commands that measure them."""
    encoder, cells = measured("encoder"), measured("cells")
    names = {
        "eager_over_floor": "time of the eager encoder / its matrix products and attention only",
        "compiled_over_floor": "time of the compiled encoder / the same",
        "eager_over_rebuilding": "time of the eager encoder / one that rebuilds its rotary tables in every layer",
    }
    rows = [
        [text, f"{encoder[key]:.3f}", f"{encoder['limits'][key]:.2f}", f"`{encoder['command']}`"]
        for key, text in names.items()
    ]
    cost = f"{cells['milliseconds_a_cell']:.1f} ms"
    rows.append(["overhead per cell", cost, f"{cells['limit']:.0f} ms", f"`{cells['command']}`"])
    sweep, scale = measured("sweep"), measured("scale")
    for model, text in (("pocket_a", "pocket model, 96 px"), ("random_base", "base size, 256 px")):
        one, command = sweep[model], f"`{sweep['command']}`"
        rows.append(
            [f"speed of the sweep / of a plain loop, {text}", f"{one['ratio']:.2f}", f"{one['least_ratio']}", command]
        )
        share, least = f"{one['encoder_share']:.0%}", f"{one['least_encoder_share']:.0%}"
        rows.append([f"share of the encoder in the sweep's time, {text}", share, least, command])
    for key, text in (("cells", "cells"), ("clips", "clips")):
        grown = f"{scale[f'growth_with_{key}']:.2f}"
        rows.append([f"growth of the time with {text}; 2 is linear", grown, "1.7 to 2.3", f"`{scale['command']}`"])
    for key, text in (
        ("100_clips_over_10", "100 clips instead of 10"),
        ("300_cells_over_12", "300 cells instead of 12"),
    ):
        more = f"{scale[f'mebibytes_for_{key}']:.0f} MiB"
        rows.append([f"more memory for {text}", more, f"{scale['mebibytes_limit']} MiB", f"`{scale['command']}`"])
    large = scale["large"]
    rows.append(
        [f"planning {large['cells']} cells", f"{large['plan_seconds']:.1f} s", "10 s", f"`{scale['command']}`"]
    )
    rows.append(["their status", f"{large['status_seconds']:.1f} s", "2 s", f"`{scale['command']}`"])
    return table(["figure", "measured", "limit", "command"], rows)


def verdicts_replayed() -> str:
    """Verdicts of the replication's rules on the published numbers."""
    rows = [[name, f"**{verdict.outcome}**", verdicts.clause(verdict)] for name, verdict in replay.replay().items()]
    return table(["", "verdict", "clause"], rows)


def correlations_replayed() -> str:
    """The published correlations, their recomputed Fisher intervals, and whether they are equivalent to zero."""
    rows = []
    for name, ends in replay.fisher_ends().items():
        row = replay.PUBLISHED["correlations"][name]
        published = interval(row["low"], row["high"])
        outcome = replay.small_enough(name).outcome
        rows.append([name.replace("_", " "), number(row["r"]), str(row["n"]), published, interval(*ends), outcome])
    return table(["", "r", "pairs", "published", "recomputed", "within ±0.15"], rows)


def rule_numbers() -> str:
    """Which numbers in the replication's rules the published report names."""
    rows = [
        [one.hypothesis, one.kind, f"`{one.name}: {one.value:g}`", "published" if one.published else "reconstructed"]
        for one in replay.rule_numbers()
    ]
    return table(["", "rule", "number", "source"], rows)


def replayed_inputs() -> str:
    """What the published numbers determine, and what they do not."""
    published, jumps, back = replay.PUBLISHED, replay.scaling(), replay.reversal()
    found, half, davis = published["scaling"], published["half_width_of_cell_means"], published["reverse_M2_davis"]
    above, noise = published["noise_above_drops"], published["numbers_of_rules"]["H4"]["noise"]
    low, high = published["reverse_M2"]
    sentences = (
        f"*H4*: the smallest upward jump of the {found['curves']} scaling curves is",
        f"{found['smallest_upward_jump']} or {found['in_half_widths']} pooled half-widths, and every",
        "curve has one of at least",
        f"{found['every_curve_at_least']}. The criterion is {noise}. All curves are refuted, whatever",
        "the half-width.",
        f"Size and number of half-widths imply a pooled half-width of {jumps.implied:.4f}. The median of cell",
        f"means would give {jumps.independent:.4f} if the strengths of a clip were independent, and",
        f"{jumps.equal:.4f} if they",
        "were equal: the curves have narrower half-widths than that median implies.",
    )
    cells = (
        f"*Half-widths of cell means*: median {half['median']}, largest {half['largest']}. The median of",
        f"{published['ssv2_clips']} clips implies a standard deviation of {back.sd_of_cells:.3f}.",
    )
    signs = (
        f"*H5*: at all {above['strengths']} strengths, M2 is larger under noise on at least",
        f"{above['models_at_least']} of {above['of']} models. Only these signs were published.",
    )
    reversal = (
        f"*Reversal on DAVIS*: mean {davis['mean']:.3f}, standard deviation {davis['sd']}, n = {davis['n']};",
        f"interval {interval(back.low, back.high)}. An interval of SSv2 does not overlap it only if the",
        "standard deviation",
        f"between clips is below {back.largest_sd[low]:.4f} (mean {low}) or",
        f"{back.largest_sd[high]:.4f} (mean {high}).",
    )
    return "\n".join(f"- {' '.join(lines)}" for lines in (sentences, cells, signs, reversal))


def separability() -> str:
    """The published criterion of separability, and that of the partition finding, on the published correlations."""
    gap, needs = replay.gap(), replay.dependence()
    names = f"{gap.low_of} and {gap.high_of}".replace("_", " ")
    rows = [
        [
            "published",
            f"gap between the intervals of {names}, the extremes of their families",
            f"{gap.printed:+.3f} as printed, {gap.recomputed:+.4f} recomputed, "
            f"{replay.PUBLISHED['separability_gap']:+.3f} published",
        ],
        ["partition finding", "interval of r₁ − r₂ of pooled families, clips resampled", "needs the pairs"],
    ]
    for name, one in needs.items():
        result = f"for a correlation within clips up to {one.within_clip:.2f}"
        rows.append([f"{name}, for {names}", f"needs {one.pairs:.0f} independent pairs", result])
    return table(["criterion", "compares", "result"], rows)


def tracking() -> str:
    """Time and memory of label propagation."""
    rows = [
        [
            channels,
            f"{entry['seconds']['frame_by_frame']:.3f} s, {entry['mebibytes']['frame_by_frame']:.0f} MiB",
            f"{entry['seconds']['banded']:.3f} s, {entry['mebibytes']['banded']:.0f} MiB",
            f"{entry['speedup']:.2f}",
        ]
        for channels, entry in measured("tracking")["channels"].items()
    ]
    return table(["channels", "frame by frame", "here", "speed-up"], rows)


def metric_costs() -> str:
    """Time of the metrics relative to the encoder's."""
    found = measured("metrics")
    rows = [
        [name, f"{found['median_seconds'][name]:.3f} s", f"{share:.2%}"] for name, share in found["shares"].items()
    ]
    rows.append(
        [
            "total",
            f"{sum(found['median_seconds'][name] for name in found['shares']):.3f} s",
            f"{found['share']:.2%}",
        ]
    )
    return table(["", "per clip", f"share (limit {found['limit']:.0%})"], rows)


def paired(entry: dict[str, Any]) -> str:
    """A difference with its interval."""
    return f"{number(entry['value'])} {interval(entry['low'], entry['high'])}"


def pocket(what: str) -> str:
    """Scores of each trained size, compared with its untrained twin, its initial weights and raw pixels."""
    found = measured("pocket")
    rows = []
    for name, scores in found["sizes"].items():
        one = scores[what]
        differences = [paired(one[f"over_{other}"]) for other in ("untrained", "first", "pixels")]
        rows.append([f"`{name}`", number(one["mean"]["value"]), *differences])
    pixels = number(found["controls"]["pixels_8"][what])
    return table(
        [
            "",
            "trained",
            "gain over untrained twin",
            "gain over initial weights",
            f"gain over pixels ({pixels})",
        ],
        rows,
    )


def pocket_facts() -> str:
    """Single numbers of the pocket page."""
    found = measured("pocket")
    stream = found["stream"]
    rows = [
        ["clips of the stream per second and core", f"{stream['clips_a_second_and_core']:.0f}", str(stream["limit"])],
        ["error when predicting no motion, (patches per position)²", number(found["still"]), ""],
    ]
    return table(["", "measured", "minimum"], rows)


def pocket_footage() -> str:
    """Forward-backward error on clips of the two real videos."""
    rows = []
    for name, scores in measured("pocket")["sizes"].items():
        one = scores["footage"]
        others = [
            f"{number(one[other]['mean'])}, worse on {one[other]['worse']} of {one['clips']}"
            for other in ("untrained", "first", "pixels")
        ]
        rows.append([f"`{name}`", number(one["mean"]), *others, number(one["torn"])])
    return table(["", "trained", "untrained twin", "initial weights", "pixels", "trained, shuffled clips"], rows)


def pocket_speeds() -> str:
    """The same, separately for clips of consecutive frames and of every second frame."""
    rows = []
    for name, scores in measured("pocket")["sizes"].items():
        slow, fast = scores["footage_1"], scores["footage_2"]
        values = (slow["mean"], slow["untrained"]["mean"], fast["mean"], fast["untrained"]["mean"])
        rows.append([f"`{name}`", *map(number, values)])
    return table(["", "consecutive frames", "untrained twin", "every second frame", "untrained twin"], rows)


def pocket_drift() -> str:
    """Trend of M2 with strength, and M2 of unperturbed clips."""
    found = measured("pocket")["drift"]
    kinds = list(next(iter(found.values()))["perturbations"])
    rows = [
        [f"`{name}`", *(number(one["perturbations"][kind]["trend"]) for kind in kinds), f"{one['identity']:.1e}"]
        for name, one in found.items()
    ]
    return table(["", *(kind.replace("_", " ") for kind in kinds), "identity, largest M2"], rows)


def pocket_spread() -> str:
    """Effective rank and channel deviations of the features."""
    found = measured("pocket")
    keys = {"trained": "{}", "initial weights": "{}_first", "untrained twin": "{}_untrained"}
    named = [(f"`{name}`, {label}", key.format(name)) for name in found["sizes"] for label, key in keys.items()]
    rows = []
    for label, key in [*named, ("pixels", "pixels_8")]:
        one = found["spread"][key]
        deviations = f"{number(one['deviation'])}, minimum {number(one['least'])}"
        rows.append([label, str(one["channels"]), number(one["rank"]), deviations])
    return table(["", "channels", "effective rank", "standard deviation of a channel"], rows)


def coverage() -> str:
    """Lowest and highest coverage of each interval over all families of data, by number of sources."""
    found = measured("coverage")
    shares = {tuple(key.split(", ")): one for key, one in found["coverage"].items()}
    sizes = list(dict.fromkeys(n for _, n in shares))
    rows = [
        [name, *(extremes({family: one[name] for (family, of), one in shares.items() if of == n}) for n in sizes)]
        for name in next(iter(shares.values()))
    ]
    note = f"{found['replicates']} replicates; Monte-Carlo standard error {found['standard_error']:.1%}"
    return table([f"interval ({note})", *(f"{n} sources" for n in sizes)], rows)


def coverage_by_association() -> str:
    """The same for the jackknife intervals, at other associations."""
    shares = {tuple(key.split(", ")): one for key, one in measured("coverage")["associations"].items()}
    sizes = list(dict.fromkeys(n for _, _, n in shares))
    rows = [
        [
            name,
            r,
            *(
                extremes({family: one[name] for (at, family, of), one in shares.items() if (at, of) == (r, n)})
                for n in sizes
            ),
        ]
        for name in next(iter(shares.values()))
        for r in dict.fromkeys(at for at, _, _ in shares)
    ]
    return table(["interval", "association", *(f"{n} sources" for n in sizes)], rows)


def extremes(shares: Mapping[str, float]) -> str:
    """The lowest and the highest share, with the family that has the lowest."""
    low = min(shares, key=shares.__getitem__)
    return f"{shares[low]:.1%} ({low}) to {max(shares.values()):.1%}"


def statistics_costs() -> str:
    """Time and memory of judging, and of operating characteristics."""
    speed, power = measured("stats")["speed"], measured("stats")["power"]
    rows = [
        [
            f"all {speed['estimands']} estimands of H1 to H6, {speed['resamples']} resamples",
            f"{speed['seconds']:.2f} s",
            f"{speed['limit_seconds']} s",
        ],
        ["peak memory of that", f"{speed['peak_gibibytes']:.2f} GiB", f"{speed['limit_gibibytes']} GiB"],
        ["speed-up over scipy, cell by cell", f"{speed['times_faster']:.0f}", "5 or more"],
        [
            f"{power['studies']} studies in each of three scenarios, with author-free worlds and power curves",
            f"{power['seconds']:.0f} s",
            f"{power['limit_seconds']} s",
        ],
    ]
    return table(["322 cells, 200 and 30 clips", "measured", "limit"], rows)


def looks_exclude() -> str:
    """How often an interval excludes the mean at any look."""
    found = measured("betting")
    listed = ", ".join(map(str, found["looks"][:-1]))
    rows = [
        [family, *(f"{one[key]:.1%}" for key in ("betting", "t_at_looks", "t_always"))]
        for family, one in found["excluded"].items()
    ]
    note = f"{found['studies']} studies; Monte-Carlo standard error {found['standard_error']:.1%}"
    head = [
        f"values ({note})",
        f"`betting`, any look up to {found['longest']}",
        f"Student's t, looks after {listed} and {found['looks'][-1]}",
        f"Student's t, every look from {found['first']} on",
    ]
    return table(head, rows)


def betting_widths() -> str:
    """Mean widths of a confidence sequence, and of intervals for one look."""
    found = measured("betting")["widths"]
    kinds = {"betting": "`betting`", "bernstein": "empirical Bernstein", "hoeffding": "Hoeffding", "t": "Student's t"}
    rows = [
        [family, *(" / ".join(f"{one[key]:.3f}" for one in sizes.values()) for key in kinds)]
        for family, sizes in found.items()
    ]
    numbers = ", ".join(next(iter(found.values())))
    return table([f"width after {numbers} values", *kinds.values()], rows)


TABLES: dict[str, Callable[[], str]] = {
    "demo": demo,
    "costs": costs,
    "coverage": coverage,
    "coverage_by_association": coverage_by_association,
    "looks_exclude": looks_exclude,
    "betting_widths": betting_widths,
    "statistics_costs": statistics_costs,
    "replay": verdicts_replayed,
    "correlations": correlations_replayed,
    "rule_numbers": rule_numbers,
    "replayed_inputs": replayed_inputs,
    "separability": separability,
    "tracking": tracking,
    "metric_costs": metric_costs,
    "pocket_m3": lambda: pocket("m3"),
    "pocket_velocity": lambda: pocket("velocity"),
    "pocket_identity": lambda: pocket("identity"),
    "pocket_figure": lambda: pocket("figure"),
    "pocket_which": lambda: pocket("which"),
    "pocket_facts": pocket_facts,
    "pocket_footage": pocket_footage,
    "pocket_speeds": pocket_speeds,
    "pocket_drift": pocket_drift,
    "pocket_spread": pocket_spread,
}
