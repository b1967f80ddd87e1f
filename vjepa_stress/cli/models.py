"""Commands that obtain models: `fetch` downloads a released checkpoint, `pretrain` trains a small model."""

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
    """Download a released checkpoint.

    An interrupted download continues when the same command runs again. The file is compared with the digest in the
    model's YAML; where that is null, the digest is recorded next to the file.
    """
    from vjepa_stress.encoders.fetch import fetch as download
    from vjepa_stress.encoders.released import Released
    from vjepa_stress.sweep.progress import byte_progress

    request = request_of(overrides, config_dir, nearest_root(root)).without_cell_filter()
    encoder = request.blocks.encoder(model)
    if not isinstance(encoder, Released):
        raise BadInput(
            f"{model} has no weights to download",
            expected="base, large, giant or gigantic",
            fix="vjepa-stress list models",
        )
    store = request.exec_config.weights.expanduser()
    with byte_progress(encoder.file) as progress:
        digest = download(encoder, store, progress=progress)
    return Result({"file": str(store / encoder.file), "digest": digest}, as_json)


@command("vjepa-stress pretrain pocket_b exec.threads=1")
def pretrain(
    model: Model,
    overrides: Overrides = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="folder for training state, log and weights")
    ] = Path("pretrained"),
    config_dir: ConfigDir = None,
    root: Root = None,
    as_json: Json = False,
) -> Result:
    """Train a small model as V-JEPA 2.1 is trained.

    MODEL is a model of the class `Stored`, for instance pocket_b. Overrides of `training` change the recipe. The same
    command continues an interrupted training.
    """
    from vjepa_stress.encoders.stored import SHIPPED
    from vjepa_stress.sweep.bind import strictly
    from vjepa_stress.sweep.computation import choose_device
    from vjepa_stress.sweep.progress import progress
    from vjepa_stress.training.pretrain import pretrain as train
    from vjepa_stress.training.pretrain import trainable
    from vjepa_stress.training.recipe import Recipe

    request = request_of(overrides, config_dir, nearest_root(root), application="pretrain").without_cell_filter()
    encoder = trainable(request.blocks.encoder(model), model)
    recipe = strictly(Recipe, request.training or {}, "training")
    device, threads = choose_device(request.exec_config.device), request.exec_config.threads
    store = request.exec_config.weights.expanduser()
    with progress(f"training {model}", recipe.steps) as advance:
        done = train(model, encoder, recipe, out / model, device, threads=threads, advance=advance)
    if (SHIPPED / encoder.file).is_file():
        output.say(f"{encoder.file} ships with the package; to use yours, give it another file name and YAML file")
    else:
        output.say(f"to use it, set `sha256` in {model}.yaml to this digest and copy the file to {store}")
    return Result({"weights": str(done.weights), "digest": done.digest, "log": str(done.log)}, as_json)
