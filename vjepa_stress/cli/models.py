"""Commands that get models: fetch a released checkpoint, or pretrain a small one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vjepa_stress.cli import output
from vjepa_stress.cli.options import ConfigDir, Json, Model, Overrides, Root, nearest_root, request_of
from vjepa_stress.cli.output import Result
from vjepa_stress.cli.parser import command
from vjepa_stress.errors import BadInput


@command("vjepa-stress fetch base")
def fetch(
    model: Model,
    overrides: Overrides = None,
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Download a released checkpoint."""
    from vjepa_stress.encoders.fetch import fetch as download
    from vjepa_stress.encoders.released import Released
    from vjepa_stress.sweep.progress import byte_progress

    request = request_of(overrides, config_dir, nearest_root(root)).choosing_nothing()
    encoder = request.blocks.encoder(model)
    if not isinstance(encoder, Released):
        raise BadInput(f"{model} has no weights to download", expected="base, large, giant or gigantic")
    store = request.place.weights.expanduser()
    with byte_progress(encoder.file) as progress:
        digest = download(encoder, store, progress=progress)
    return Result({"file": str(store / encoder.file), "digest": digest}, as_json)


@command("vjepa-stress pretrain pocket_b exec.threads=1")
def pretrain(
    model: Model,
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="folder for checkpoint, log and weights")] = Path(
        "pretrained"
    ),
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Train a small model with V-JEPA 2.1's objective.

    The same command goes on after a stop.
    """
    from vjepa_stress.encoders.stored import SHIPPED
    from vjepa_stress.sweep.bind import strictly
    from vjepa_stress.sweep.progress import progress
    from vjepa_stress.sweep.run import choose_device
    from vjepa_stress.training.pretrain import pretrain as train
    from vjepa_stress.training.pretrain import trainable
    from vjepa_stress.training.recipe import Recipe

    request = request_of(overrides, config_dir, nearest_root(root), application="pretrain").choosing_nothing()
    encoder = trainable(request.blocks.encoder(model), model)
    recipe = strictly(Recipe, request.training or {}, "training")
    device, threads = choose_device(request.place.device), request.place.threads
    with progress(f"training {model}", recipe.steps) as advance:
        done = train(model, encoder, recipe, out / model, device, threads=threads, advance=advance)
    if (SHIPPED / encoder.file).is_file():
        output.say(f"{encoder.file} ships with the package: to use yours, give it its own YAML and file name")
    else:
        output.say(f"pin this digest as `sha256` in {model}.yaml, and put the file into the folder of weights")
    return Result({"weights": str(done.weights), "digest": done.digest, "log": str(done.log)}, as_json)
