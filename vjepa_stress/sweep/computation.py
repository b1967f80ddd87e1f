"""A registered design with its building blocks on this machine: what the steps of `compute.py` need."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from vjepa_stress.blocks import ClipRef
from vjepa_stress.design.video import VideoCell, VideoDesign
from vjepa_stress.digest import Digest
from vjepa_stress.errors import BadConfiguration, IdentityChanged, MachineFailure, StressError
from vjepa_stress.interfaces import Dataset, Encoder, LoadedEncoder, Metric, Perturbation
from vjepa_stress.records import Row
from vjepa_stress.sweep.bind import ExecConfig, rebuild
from vjepa_stress.sweep.compute import Model, Result, Source
from vjepa_stress.sweep.selection import grouped


def choose_device(name: str) -> torch.device:
    """The device to compute on; `auto` takes CUDA if available.

    Raises:
        MachineFailure: when torch cannot use the device.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise MachineFailure(
            "this device cannot be used",
            where=f"exec.device={name}",
            expected="auto, cpu, cuda or cuda:N",
            found=str(error),
            fix="choose another device, for instance exec.device=cpu",
        ) from error
    return device


BATCH_ON_GPU = 8
"""Cells encoded together on a GPU, unless `exec.batch` says otherwise."""


@dataclass(frozen=True)
class Computation:
    """A registered design with its building blocks, ready to compute on this machine.

    Attributes:
        design: the design.
        targets: module and class of each kind of building block.
        weights: registered or pinned digest of the weights of each model.
        exec_config: where and how fast to compute.
    """

    design: VideoDesign
    targets: Mapping[str, str]
    weights: Mapping[str, Digest]
    exec_config: ExecConfig

    @functools.cached_property
    def device(self) -> torch.device:
        """The device to compute on.

        Raises:
            MachineFailure: when torch cannot use it.
        """
        return choose_device(self.exec_config.device)

    @property
    def batch(self) -> int:
        """Cells encoded together."""
        return self.exec_config.batch or (1 if self.device.type == "cpu" else BATCH_ON_GPU)

    def source(self, dataset: str) -> Source:
        """The clips of a data set, and the perturbations of the design."""
        design, plugins = self.design, self.exec_config.plugins
        used = {cell.perturbation for cell in design.cells if cell.dataset == dataset}
        return Source(
            design,
            rebuild(design.datasets[dataset].spec, self.targets, Dataset, f"data {dataset}", plugins),
            {
                name: rebuild(entry.spec, self.targets, Perturbation, f"perturbation {name}", plugins)
                for name, entry in design.perturbations.items()
                if name in used and str(entry.spec.get("kind")) in self.targets
            },
            self.exec_config.home(dataset),
            self.batch,
            self.device.type == "cuda",
        )

    def model(self, name: str) -> Model:
        """A model, loaded; the last one of this process is kept.

        Raises:
            IdentityChanged: when its weights are not the registered ones.
        """
        design, plugins, device = self.design, self.exec_config.plugins, self.device
        encoder = rebuild(design.models[name].spec, self.targets, Encoder, f"model {name}", plugins)
        metrics = [
            rebuild(entry.spec, self.targets, Metric, f"metric {metric}", plugins)
            for metric, entry in design.metrics.items()
        ]
        key = f"{self.weights[name]} {design.models[name].spec_digest} {device} {design.numerics}"
        if key not in _loaded:
            _loaded.clear()
            numerics, store = design.numerics, self.exec_config.weights.expanduser()
            _loaded[key] = encoder.load(store, device, numerics.dtype, numerics.compile)
        loaded = _loaded[key]
        if loaded.weights != self.weights[name]:
            raise IdentityChanged(
                f"the weights of {name} changed after the launch",
                expected=self.weights[name],
                found=loaded.weights,
                fix="restore the registered weights file, then run the same command again",
            )
        return Model(design, encoder, loaded, metrics, device)

    def rows(self, cells: Sequence[VideoCell], clips: Mapping[str, Sequence[ClipRef]]) -> dict[VideoCell, list[Row]]:
        """Rows of some cells, in memory.

        Args:
            cells: cells of the design.
            clips: clips of each data set.

        Raises:
            StressError: when a clip or cell cannot be computed.
        """
        found: dict[VideoCell, list[Row]] = {cell: [] for cell in cells}
        for (model, dataset), wanted in grouped(cells).items():
            loaded, source, planned = self.model(model), self.source(dataset), self.planned[model, dataset]
            for clip in clips[dataset]:
                for finish in loaded.measure(source.prepare(clip, wanted, planned)):
                    for result in finish():
                        if result.cell in found:
                            found[result.cell].append(_row_of(result))
        return found

    @functools.cached_property
    def planned(self) -> dict[tuple[str, str], list[VideoCell]]:
        """All cells of the design, by model and data set."""
        return grouped(self.design.cells)


_loaded: dict[str, LoadedEncoder] = {}


def forget_models() -> None:
    """Free the model that this process keeps."""
    _loaded.clear()


def _row_of(result: Result) -> Row:
    if result.row is None:
        raise (
            result.error
            if isinstance(result.error, StressError)
            else BadConfiguration(
                "a cell could not be computed",
                where=result.cell,
                found=f"{type(result.error).__name__}: {result.error}",
            )
        ) from result.error
    return result.row


def configure_torch(threads: int | None) -> None:
    """Set torch's process-wide options: number of threads, no TF32, deterministic cuDNN."""
    if threads is not None:
        torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.deterministic = True
