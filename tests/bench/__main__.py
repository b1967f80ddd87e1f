"""Measure, and keep what was found: each benchmark's numbers go to `docs/measured/<name>.json`."""

import argparse
import importlib
import json
import pkgutil
import platform
from pathlib import Path

from tests import bench

MEASURED = Path(__file__).parents[2] / "docs" / "measured"
KNOWN = sorted(
    module.name.removeprefix("bench_")
    for module in pkgutil.iter_modules(bench.__path__, "")
    if module.name.startswith("bench_")
)


def processor() -> str:
    """The processor's name."""
    facts = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in facts if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Run the benchmarks named, or all."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("name", nargs="*", choices=[[], *KNOWN], help=f"{', '.join(KNOWN)}; all when none is named")
    for name in parser.parse_args().name or KNOWN:
        found = importlib.import_module(f"tests.bench.bench_{name}").measured()
        # First, so that whoever opens the file sees that it is generated.
        source = {"command": f"python -m tests.bench {name}", "machine": processor()}
        text = json.dumps(source | found, indent=2) + "\n"
        MEASURED.mkdir(parents=True, exist_ok=True)
        (MEASURED / f"{name}.json").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
