"""`list`: what can be named in a draft or on a command line."""

from __future__ import annotations

from pathlib import Path

import typer

from vjepa_stress.cli.options import ConfigDir, Json, Root, conf_folders, nearest_root
from vjepa_stress.cli.output import Result, Table
from vjepa_stress.cli.parser import app, command

group = typer.Typer(help="List models, data sets, perturbations, …", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(group, name="list")


@command("vjepa-stress list models", group=group)
def models(config_dir: ConfigDir = None, root: Root = None, as_json: Json = False) -> Result:
    """List models: the names in conf/model."""
    return _blocks("model", config_dir, root, as_json)


@command("vjepa-stress list datasets", group=group)
def datasets(config_dir: ConfigDir = None, root: Root = None, as_json: Json = False) -> Result:
    """List data sets: the names in conf/data."""
    return _blocks("data", config_dir, root, as_json)


@command("vjepa-stress list perturbations", group=group)
def perturbations(config_dir: ConfigDir = None, root: Root = None, as_json: Json = False) -> Result:
    """List perturbations: the names in conf/perturbation."""
    return _blocks("perturbation", config_dir, root, as_json)


@command("vjepa-stress list metrics", group=group)
def metrics(config_dir: ConfigDir = None, root: Root = None, as_json: Json = False) -> Result:
    """List metrics: the names in conf/metric."""
    return _blocks("metric", config_dir, root, as_json)


@command("vjepa-stress list studies", group=group)
def studies(root: Root = None, as_json: Json = False) -> Result:
    """List the registered studies of a study root."""
    from vjepa_stress.evidence.status import registered
    from vjepa_stress.study_root import StudyRoot

    rows = registered(StudyRoot.find(given=root))
    columns = ("study", "version", "registered", "title")
    cells = tuple((one.study, one.version, one.registered, one.title) for one in rows)
    values = [dict(zip(columns, row, strict=True)) for row in cells]
    return Result({"studies": values}, as_json, (Table(columns, cells),))


def _blocks(name: str, config_dir: Path | None, root: Path | None, as_json: bool) -> Result:
    from vjepa_stress.sweep.catalogue import listed

    found = listed(name, conf_folders(config_dir, nearest_root(root)))
    values = [{"name": one.name, "about": one.about, "file": str(one.path)} for one in found]
    rows = tuple((one.name, one.about) for one in found)
    return Result({name: values}, as_json, (Table(("name", "about"), rows),))
