"""How evidence is attacked in tests, and what three commands must answer."""

import random
from pathlib import Path
from typing import Any

from tests.small import study
from tests.small.study import Done
from vjepa_stress import ledger
from vjepa_stress.digest import canonical_json, parse_json, sha256
from vjepa_stress.ledger import Checkpoint, Leaf
from vjepa_stress.ledger.checkpoint import Note
from vjepa_stress.ledger.tree import merkle_root
from vjepa_stress.records import content_digest, read_cell, shard_bytes
from vjepa_stress.study_root import StudyRoot


def three(root: StudyRoot, name: str = "small", run: bool = True) -> list[Done]:
    """Launch, verdict and audit."""
    where = ("--root", root.path)
    launched = [study.command("run", name, "--config-dir", study.CONF, *where)] if run else []
    return [*launched, study.command("verdict", name, *where), study.command("audit", name, *where)]


def refused(root: StudyRoot, codes: tuple[int, ...] = (3,), name: str = "small", run: bool = True) -> None:
    """All three refuse with one of these codes, without a traceback, and say what was found and what to do."""
    for done in three(root, name, run):
        assert done.code in codes, f"exit code {done.code}\n{done.err}"
        assert "Traceback" not in done.err
        assert "where:" in done.err or "found:" in done.err


def flipped(data: bytes, position: int, chance: random.Random) -> bytes:
    changed = bytearray(data)
    changed[position] ^= 1 << chance.randrange(8)
    return bytes(changed)


def rewrite(path: Path, change: dict[str, object]) -> None:
    """Change fields of a canonical JSON file, as somebody with care would."""
    value = parse_json(path.read_bytes()) | change
    path.write_bytes(canonical_json(value))


def forge(folder: Path, worse: bool) -> None:
    """Change one value of a shard, and with care also every digest in its manifest."""
    stored = read_cell(folder)
    rows = stored.table.to_pylist()
    if worse:
        rows[0]["M2"] = rows[0]["M2"] / 2
    else:
        rows.pop()
    shard = shard_bytes(rows, stored.table.schema)
    (folder / "shard.parquet").write_bytes(shard)
    change = {"shard_digest": sha256(shard), "content_digest": content_digest(rows), "rows": len(rows)}
    rewrite(folder / "manifest.json", change)


def reforged(root: StudyRoot, folder: Path, shard: bytes) -> None:
    """Another shard, with the manifest's file digest to match."""
    (folder / "shard.parquet").write_bytes(shard)
    rewrite(folder / "manifest.json", {"shard_digest": sha256(shard)})


def without_results(root: StudyRoot) -> None:
    """Take away what was shown, as somebody does who takes the looks out of the ledger."""
    for folder in (study.outputs(root), study.outputs(root) / "exploratory"):
        for path in (*folder.glob("verdict*"), *folder.glob("report*")):
            path.unlink()


def keep_leaves(root: StudyRoot, count: int) -> None:
    """Cut the ledger after so many leaves, and make its checkpoint agree."""
    view = ledger.read(root)
    root.ledger.write_bytes(b"".join(root.ledger.read_bytes().splitlines(keepends=True)[:count]))
    root.checkpoint.write_bytes(Note(view.checkpoint(count)).to_bytes())


def said(leaf: Leaf) -> dict[str, Any]:
    """What a leaf says of itself, without its place in the ledger."""
    placed = ("schema_", "event", "seq", "at", "prev_root")
    return {name: getattr(leaf, name) for name in type(leaf).model_fields if name not in placed}


def append_again(root: StudyRoot, leaf: Leaf, /, **change: object) -> Checkpoint:
    """Append the content of a leaf, changed or not, as a forger who rewrites the ledger can."""
    _, checkpoint = ledger.append(root, type(leaf), **{**said(leaf), **change})
    return checkpoint


def append_bytes(root: StudyRoot, line: bytes) -> None:
    """Append any line, and make the checkpoint agree."""
    lines = [*root.ledger.read_bytes().splitlines(), line]
    root.ledger.write_bytes(b"".join(one + b"\n" for one in lines))
    root.checkpoint.write_bytes(Note(Checkpoint(len(lines), merkle_root(lines))).to_bytes())


def cell(root: StudyRoot, name: str) -> Path:
    return next(study.cells(root).glob(name))
