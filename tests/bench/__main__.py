"""Run benchmarks; each writes its results to `docs/measured/<name>.json`."""

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
    """Name of the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Run the named benchmarks, or all of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("name", nargs="*", choices=[[], *KNOWN], help=f"{', '.join(KNOWN)}; default: all but gpu")
    for name in parser.parse_args().name or [name for name in KNOWN if name != "gpu"]:
        results = importlib.import_module(f"tests.bench.bench_{name}").measured()
        # These keys come first, so that a reader sees at once that the file is generated.
        source = {"command": f"python -m tests.bench {name}", "machine": processor()}
        text = json.dumps(source | results, indent=2) + "\n"
        MEASURED.mkdir(parents=True, exist_ok=True)
        (MEASURED / f"{name}.json").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
