"""Where the running code comes from: its digest, whether it is dirty, and what it runs on."""

from __future__ import annotations

import base64
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import platform
import subprocess
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from vjepa_stress.digest import Digest, digest_of, sha256_file
from vjepa_stress.errors import BadInput

PACKAGE = Path(__file__).resolve().parent
_REPORTED = (
    "av", "hydra-core", "matplotlib", "numpy", "omegaconf", "pillow", "pyarrow", "pydantic", "scipy", "torch",
)  # fmt: skip
# Copies that the wheel carries inside the package, and their places in a checkout.
_CARRIED = {"conf": "conf", "pyproject.toml": "pyproject.toml", "studies": "prereg"}


def shipped(name: str) -> Path:
    """Find a file or folder that travels with the package: `conf`, `pyproject.toml` or `studies`.

    A wheel has it inside the package, a checkout at the repository's root.

    Raises:
        BadInput: when neither has it.
    """
    for place in (PACKAGE / name, PACKAGE.parent / _CARRIED[name]):
        if place.exists():
            return place
    raise BadInput("the installation is incomplete", where=PACKAGE, expected=name, fix="install the package again")


class CodeState(BaseModel):
    """Which code runs.

    Attributes:
        digest: over every file of the package, `conf/` and `pyproject.toml`; the same in a wheel and a checkout.
        dirty: the code differs from the commit (checkout) or the wheel's record, or this cannot be told.
        commit: the commit of a checkout, else null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    dirty: bool
    commit: str | None


def make_importable(root: Path, plugins: tuple[str, ...]) -> None:
    """Let plugins be imported that lie in a study root, or in its folder `plugins`.

    Such a folder comes last on the import path, and only when it holds a plugin that is named: it hides no installed
    package. Every process that uses plugins calls this first.
    """
    for plugin in plugins:
        for folder in (root / "plugins", root):
            there = (folder / f"{plugin}.py").is_file() or (folder / plugin / "__init__.py").is_file()
            if there and str(folder) not in sys.path:
                sys.path.append(str(folder))
                importlib.invalidate_caches()


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".pyc")


def code_tree(plugins: tuple[str, ...] = ()) -> dict[str, Digest]:
    """Digest of every file that can change a result, by its path in the repository.

    Args:
        plugins: importable top-level packages or modules with building blocks of the user's own.
    """
    tree: dict[str, Digest] = {}
    for path in _files(PACKAGE):
        inside = path.relative_to(PACKAGE)
        if inside.parts[0] not in _CARRIED:
            tree[f"vjepa_stress/{inside.as_posix()}"] = sha256_file(path)
    conf = shipped("conf")
    for path in _files(conf):
        tree[f"conf/{path.relative_to(conf).as_posix()}"] = sha256_file(path)
    tree["pyproject.toml"] = sha256_file(shipped("pyproject.toml"))
    for plugin in plugins:
        spec = importlib.util.find_spec(plugin)
        if spec is None or spec.origin is None:
            raise BadInput(
                f"the plugin {plugin} cannot be imported",
                expected=f"{plugin}.py or a folder {plugin} in the study root, or an installed package",
                fix="put the module into the study root or its folder plugins, or install it",
            )
        origin = Path(spec.origin)
        for path in _files(origin.parent) if origin.name == "__init__.py" else [origin]:
            tree[f"plugins/{plugin}/{path.relative_to(origin.parent).as_posix()}"] = sha256_file(path)
    return tree


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, check=False, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _differs_from_record() -> bool:
    """Compare an installed wheel's files with the hashes of its own RECORD."""
    try:
        recorded = importlib.metadata.files("vjepa-stress") or []
    except importlib.metadata.PackageNotFoundError:
        return True
    checked = 0
    for entry in recorded:
        if entry.parts[0] != PACKAGE.name or entry.hash is None or entry.suffix == ".pyc":
            continue
        path = Path(str(entry.locate()))
        if not path.is_file():
            return True
        actual = hashlib.new(entry.hash.mode, path.read_bytes()).digest()
        if base64.urlsafe_b64encode(actual).decode().rstrip("=") != entry.hash.value:
            return True
        checked += 1
    return checked == 0


@functools.cache
def code_state(plugins: tuple[str, ...] = ()) -> CodeState:
    """The state of the running code, read once a process."""
    digest = digest_of(code_tree(plugins))
    status = None
    # A wheel unpacked inside somebody else's repository must not be judged by that repository.
    if (PACKAGE.parent / "pyproject.toml").is_file():
        status = _git(
            "status", "--porcelain", "--untracked-files=all", "--", "vjepa_stress", "conf", "pyproject.toml"
        )
    if status is None:
        return CodeState(digest=digest, dirty=_differs_from_record(), commit=None)
    commit = _git("rev-parse", "--verify", "HEAD")
    return CodeState(
        digest=digest, dirty=bool(status.strip()) or commit is None, commit=commit.strip() if commit else None
    )


@functools.cache
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on, where installed."""
    versions = {"python": platform.python_version(), "vjepa-stress": importlib.metadata.version("vjepa-stress")}
    for name in _REPORTED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
