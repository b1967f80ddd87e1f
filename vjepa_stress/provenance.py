"""Provenance of the running code: its digest, whether it has uncommitted changes, and versions of packages."""

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
# Copies that the wheel has inside the package, and their locations in a checkout.
_CARRIED = {"conf": "conf", "pyproject.toml": "pyproject.toml", "studies": "prereg"}


def shipped(name: str) -> Path:
    """Path of a file or folder that ships with the package: `conf`, `pyproject.toml` or `studies`.

    It is inside the package in a wheel, and at the root of the repository in a checkout.

    Raises:
        BadInput: when it is missing in both.
    """
    for path in (PACKAGE / name, PACKAGE.parent / _CARRIED[name]):
        if path.exists():
            return path
    raise BadInput("the installation is incomplete", where=PACKAGE, expected=name, fix="reinstall the package")


class CodeState(BaseModel):
    """State of the running code.

    Attributes:
        digest: digest of all files of the package, `conf/` and `pyproject.toml`; equal in a wheel and a checkout.
        dirty: whether the code differs from the commit (checkout) or from the RECORD of the wheel, or neither exists.
        commit: the commit of a checkout, else null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Digest
    dirty: bool
    commit: str | None


def make_importable(root: Path, plugins: tuple[str, ...]) -> None:
    """Make plugins in a study root, or in its folder `plugins`, importable.

    A folder is added only when it holds one of the named plugins. It is added at the end of the import path, so that
    it does not shadow installed packages. Every process that uses plugins calls this first.
    """
    for plugin in plugins:
        for folder in (root / "plugins", root):
            holds_plugin = (folder / f"{plugin}.py").is_file() or (folder / plugin / "__init__.py").is_file()
            if holds_plugin and str(folder) not in sys.path:
                sys.path.append(str(folder))
                importlib.invalidate_caches()


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".pyc")


def code_tree(plugins: tuple[str, ...] = ()) -> dict[str, Digest]:
    """Digests of all files that can change a result, by their path in the repository.

    Args:
        plugins: importable top-level packages or modules with building blocks of the user.

    Raises:
        BadInput: when a plugin cannot be imported.
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
    """Whether the files of an installed wheel differ from the hashes in its RECORD."""
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
    """The state of the running code, computed once per process."""
    digest = digest_of(code_tree(plugins))
    status = None
    # A wheel that is unpacked inside another repository must not be compared with that repository.
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
    """Versions of Python and of the installed packages that can change numbers."""
    versions = {"python": platform.python_version(), "vjepa-stress": importlib.metadata.version("vjepa-stress")}
    for name in _REPORTED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
