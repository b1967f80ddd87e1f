"""Limits on the package's shape that no tool checks."""

from pathlib import Path

import vjepa_stress

PACKAGE = Path(vjepa_stress.__file__).parent
LONGEST = 400
"""Lines of a module."""


def test_no_module_is_too_long() -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    assert len(modules) > 50
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in modules}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST} == {}
