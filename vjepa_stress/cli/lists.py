"""`list`: the names that a draft or a command line can use."""

from __future__ import annotations

from pathlib import Path

import typer

from vjepa_stress.cli import output
from vjepa_stress.cli.options import ConfigDir, Json, Root, conf_folders, nearest_root
from vjepa_stress.cli.output import Result, Table
from vjepa_stress.cli.parser import app, command

group = typer.Typer(
    help="List models, data sets, metrics, studies, …",
    epilog="\b\nexample: vjepa-stress list models",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(group, name="list")


@command("vjepa-stress list models", group=group)
def models(config_dir: ConfigDir = None, root: Root = None, as_json: Json = False) -> Result:
    """List models (YAML files in conf/model)."""
    return _blocks("model", config_dir, root, as_json)


@command("vjepa-stress list datasets", group=group)
def datasets(config_dir: ConfigDir = None, root: Root = None, as_json: Json = False) -> Result:
    """List data sets (YAML files in conf/data)."""
    return _blocks("data", config_dir, root, as_json)


@command("vjepa-stress list perturbations", group=group)
def perturbations(config_dir: ConfigDir = None, root: Root = None, as_json: Json = False) -> Result:
    """List perturbations (conf/perturbation)."""
    return _blocks("perturbation", config_dir, root, as_json)


@command("vjepa-stress list metrics", group=group)
def metrics(config_dir: ConfigDir = None, root: Root = None, as_json: Json = False) -> Result:
    """List metrics (YAML files in conf/metric)."""
    return _blocks("metric", config_dir, root, as_json)


@command("vjepa-stress list studies", group=group)
def studies(root: Root = None, as_json: Json = False) -> Result:
    """List the registered studies of a study root."""
    from vjepa_stress.evidence.status import registered
    from vjepa_stress.study_root import StudyRoot

    where = StudyRoot.find(given=root)
    columns = ("study", "version", "registered", "title")
    rows = tuple((study.study, study.version, study.registered, study.title) for study in registered(where))
    if not rows:
        output.say(f"no study is registered in {where.path}")
    values = [dict(zip(columns, row, strict=True)) for row in rows]
    return Result({"studies": values}, as_json, (Table(columns, rows),))


def _blocks(name: str, config_dir: Path | None, root: Path | None, as_json: bool) -> Result:
    from vjepa_stress.sweep.catalogue import entries

    blocks = entries(name, conf_folders(config_dir, nearest_root(root)))
    values = [{"name": block.name, "about": block.about, "file": str(block.path)} for block in blocks]
    rows = tuple((block.name, block.about) for block in blocks)
    return Result({name: values}, as_json, (Table(("name", "about"), rows),))
