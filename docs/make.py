"""Write the generated files: JSON Schemas, the tables of the pages, and the figure and verdicts of the demo.

    python docs/make.py                  write schemas and tables, from docs/measured/
    python docs/make.py --demo           first run the demo, and store its verdicts and its figure
    python docs/make.py --training DIR   first store the logs that `vjepa-stress pretrain` wrote to DIR

A table of a page is between `<!-- NAME: … -->` and `<!-- end -->`. NAME is a key of `TABLES`, and the rest names the
command that writes the table. The first lines of every generated file say that it is generated.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import replay
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from pydantic import BaseModel

from vjepa_stress.cli import main as command
from vjepa_stress.digest import parse_json
from vjepa_stress.ledger import events
from vjepa_stress.prereg import freeze
from vjepa_stress.prereg.document import Preregistration
from vjepa_stress.prereg.schema import json_schema, validate
from vjepa_stress.records import ClipManifest, Manifest, RunFailure
from vjepa_stress.report import verdicts
from vjepa_stress.report.figures import COLOURS, figure_style
from vjepa_stress.report.numbers import interval, number
from vjepa_stress.study_root import StudyRoot
from vjepa_stress.verdict.evaluate import StudyVerdict

COMMAND = "python docs/make.py"
HERE = Path(__file__).parent
PROJECT = HERE.parent
DOCUMENTS: dict[str, type[BaseModel]] = {
    "prereg": Preregistration,
    "clips": ClipManifest,
    "manifest": Manifest,
    "failure": RunFailure,
    "verdict": StudyVerdict,
}


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


def filled(page: str) -> str:
    """A page with its tables regenerated."""

    def fill(match: re.Match[str]) -> str:
        return f"<!-- {match[1]}: generated by {COMMAND} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(rf"<!-- ({'|'.join(TABLES)})(?:: [^>]*)? -->\n.*?<!-- end -->", fill, page, flags=re.DOTALL)


def marked(svg: str) -> str:
    """A figure with a comment that says which command wrote it."""
    return svg.replace("<svg ", "<!-- Generated by make docs. -->\n<svg ", 1)


def generated() -> dict[Path, str]:
    """Every generated file with its expected content."""
    schemas = {name: json_schema(kind) for name, kind in DOCUMENTS.items()} | {"leaf": events.json_schema()}
    files = {
        PROJECT / "prereg" / "schema" / f"{name}.json": json.dumps(
            {"$comment": f"Generated by {COMMAND}.", **schema}, indent=2
        )
        + "\n"
        for name, schema in schemas.items()
    }
    pages = [PROJECT / "README.md", *sorted(HERE.glob("*.md"))]
    return files | {HERE / "pocket.svg": marked(loss_curves())} | {page: filled(page.read_text()) for page in pages}


def run_demo() -> None:
    """Run the demo in a new folder, and store its verdicts and its figure."""
    with tempfile.TemporaryDirectory() as folder:
        if code := command(["demo", "--out", folder]):
            sys.exit(code)
        root = StudyRoot(Path(folder))
        registration = freeze.load(root, "demo")
        outputs = root.outputs("demo", registration.root_digest)
        path = outputs / "verdict.json"
        verdict = validate(StudyVerdict, parse_json(path.read_bytes(), path), path)
        figure = (outputs / "report-M2.svg").read_text()
        (HERE / "demo.svg").write_text(marked(figure))
    titles = {hypothesis.id: hypothesis.title for hypothesis in registration.document.hypotheses}
    kept = [
        {
            "id": one.id,
            "title": titles[one.id],
            "verdict": one.verdict,
            "not_specific": list(one.not_specific),
            "clause": verdicts.reason(one),
            "estimates": {name: record.estimate.model_dump(mode="json") for name, record in one.estimates.items()},
        }
        for one in verdict.hypotheses
    ]
    found = {"command": f"{COMMAND} --demo", "prereg_digest": verdict.prereg_digest, "hypotheses": kept}
    (HERE / "measured" / "demo.json").write_text(json.dumps(found, indent=2) + "\n")


def keep_training(folder: Path) -> None:
    """Store every fifth step of the training logs."""
    logs = {path.parent.name: path.read_text().splitlines() for path in sorted(folder.glob("*/log.jsonl"))}
    if not logs:
        raise SystemExit(f"{folder}: no training logs found; expected */log.jsonl")
    kept = {name: [json.loads(line) for line in lines[::5]] for name, lines in logs.items()}
    rounded = {
        name: [
            {key: value if key == "step" else float(f"{value:.4g}") for key, value in line.items()} for line in lines
        ]
        for name, lines in kept.items()
    }
    found = {"command": "vjepa-stress pretrain NAME", "every": 5, "logs": rounded}
    (HERE / "measured" / "training.json").write_text(json.dumps(found) + "\n")


def loss_curves() -> str:
    """Training losses of each size, as SVG."""
    logs = measured("training")["logs"]
    with figure_style():
        figure = Figure(figsize=(8, 2.8), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(1, 3)
        panels = (
            ("hidden", "loss on hidden tokens"),
            ("visible", "loss on visible tokens"),
            ("rank", "effective rank"),
        )
        for axis, (key, title) in zip(axes, panels, strict=True):
            for (name, lines), colour in zip(logs.items(), COLOURS, strict=False):
                points = [(line["step"], line[key]) for line in lines if key in line]
                axis.plot(*zip(*points, strict=True), color=colour, label=name, linewidth=1)
            axis.set_xlabel("step")
            axis.set_title(title, fontsize=9)
            axis.grid(alpha=0.3, linewidth=0.5)
            axis.spines[["top", "right"]].set_visible(False)
            axis.set_ylim(bottom=0)
        axes[0].legend(frameon=False, fontsize=8)
        picture = io.StringIO()
        figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def main() -> None:
    """Write the files that changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", action="store_true", help="run the demo first")
    parser.add_argument("--training", type=Path, metavar="DIR", help="first store the training logs of DIR")
    args = parser.parse_args()
    if args.training:
        keep_training(args.training)
    if args.demo:
        run_demo()
    for path, text in generated().items():
        if not path.exists() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            print(f"wrote {path.relative_to(PROJECT)}")


if __name__ == "__main__":
    main()
