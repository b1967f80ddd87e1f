"""Commands that inspect a data set before a study: data prepare, verify, describe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vjepa_stress.cli.options import ConfigDir, Dataset, Json, Overrides, Root, nearest_root, request_of
from vjepa_stress.cli.output import Result
from vjepa_stress.cli.parser import app, command

if TYPE_CHECKING:
    from vjepa_stress.sweep.collection import Collection

group = typer.Typer(
    help="Inspect a data set before a study.",
    epilog="\b\nexample: vjepa-stress data prepare davis 'exec.data={davis: /path/to/DAVIS}'",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(group, name="data")

Frames = Annotated[int, typer.Option("--frames", min=2, help="frames per clip")]
Resolution = Annotated[int, typer.Option("--resolution", min=32, help="height and width of decoded clips, in pixels")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for the clip manifest and the contact sheet")]
SheetOut = Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for the contact sheet")]


@command("vjepa-stress data prepare davis 'exec.data={davis: /path/to/DAVIS}' --out prepared", group=group)
def prepare(
    dataset: Dataset,
    overrides: Overrides = None,
    out: Out = Path(),
    frames: Frames = 16,
    resolution: Resolution = 384,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Write a clip manifest and a contact sheet.

    Chooses the clips as registering a draft would. The contact sheet shows a few frames of each clip.
    """
    collection = _collection(dataset, overrides, frames, resolution, config_dir, root)
    manifest = collection.manifest()
    values = collection.describe(manifest)
    values["clip_manifest"] = str(collection.keep(manifest, out))
    values["contact_sheet"] = str(out / f"{dataset}.png")
    collection.draw(manifest, out / f"{dataset}.png")
    return Result(values, as_json)


@command("vjepa-stress data verify davis 'exec.data={davis: /path/to/DAVIS}'", group=group)
def verify(
    dataset: Dataset,
    overrides: Overrides = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="FILE", help="a clip manifest that `data prepare` wrote")
    ] = None,
    frames: Frames = 16,
    resolution: Resolution = 384,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Read and decode every clip.

    With --against, also compares the clips with those of an earlier manifest.
    """
    collection = _collection(dataset, overrides, frames, resolution, config_dir, root)
    return Result(collection.verify(collection.manifest(full=True), against), as_json)


@command("vjepa-stress data describe davis 'exec.data={davis: /path/to/DAVIS}'", group=group)
def describe(
    dataset: Dataset,
    overrides: Overrides = None,
    sheet: Annotated[bool, typer.Option("--sheet", help="also draw a contact sheet")] = False,
    out: SheetOut = Path(),
    frames: Frames = 16,
    resolution: Resolution = 384,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Print number, size and cost of the clips.

    Decodes a few clips to estimate the time that all of them take.
    """
    collection = _collection(dataset, overrides, frames, resolution, config_dir, root)
    manifest = collection.manifest()
    values = collection.describe(manifest)
    if sheet:
        values["contact_sheet"] = str(out / f"{dataset}.png")
        collection.draw(manifest, out / f"{dataset}.png")
    return Result(values, as_json)


def _collection(
    dataset: str,
    overrides: list[str] | None,
    frames: int,
    resolution: int,
    config_dir: Path | None,
    root: Path | None,
) -> Collection:
    from vjepa_stress.sweep.collection import Collection

    request = request_of(overrides, config_dir, nearest_root(root)).without_cell_filter()
    return Collection(dataset, request.blocks, request.exec_config, frames, resolution)
