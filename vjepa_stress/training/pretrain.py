"""Train a model from a recipe and an architecture; a run can be interrupted at any time and resumed.

    folder/checkpoint.pt        training state; replaced atomically
    folder/log.jsonl            one line per step
    folder/NAME.safetensors     name as in the model's YAML file: the final teacher, in float16

Each step is a pure function of the previous state and of its number: clips and masks are drawn from the recipe's seed
and the number of the step. A resumed run therefore ends with the same bits.
"""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor, nn

from vjepa_stress.digest import Digest, canonical_json, digest_of, sha256
from vjepa_stress.disk import write_durably, writing
from vjepa_stress.encoders.released import assemble, imagenet_colours
from vjepa_stress.encoders.seeded import draw_weights
from vjepa_stress.encoders.stored import Stored
from vjepa_stress.encoders.vjepa21 import HIERARCHY, VJEPA21, VJEPA21Config
from vjepa_stress.errors import BadCheckpoint, BadInput, MachineFailure
from vjepa_stress.interfaces import Encoder
from vjepa_stress.provenance import code_state
from vjepa_stress.training.masks import LONG_RANGE, SHORT_RANGE, context_weights, draw_mask
from vjepa_stress.training.objective import Predictor, dense_loss, encode_visible, redundancy, targets
from vjepa_stress.training.probes import spread_of
from vjepa_stress.training.recipe import Recipe
from vjepa_stress.training.stream import training_clip

Line = dict[str, int | float]
"""Values that the log has for one step."""


@dataclass(frozen=True)
class Trained:
    """The result of a training run.

    Attributes:
        weights: path of the weights file.
        digest: digest of the weights file.
        log: path of the log, one JSON line per step.
    """

    weights: Path
    digest: Digest
    log: Path


def trainable(encoder: Encoder, name: str) -> Stored:
    """The encoder, if it can be trained.

    Raises:
        BadInput: for models that cannot be trained here: released sizes, raw pixels, untrained twins.
    """
    if not isinstance(encoder, Stored):
        raise BadInput(
            f"the model {name} cannot be trained",
            expected="a model with _target_: vjepa_stress.encoders.stored.Stored in its YAML file",
            found=type(encoder).__name__,
            fix="vjepa-stress pretrain pocket_b",
        )
    return encoder


class Training:
    """The state of one run: student, predictor, teacher, optimiser, and the number of completed steps."""

    def __init__(self, config: VJEPA21Config, recipe: Recipe, device: torch.device) -> None:
        self.config, self.recipe, self.device = config, recipe, device
        weights = first_weights(config, recipe)
        self.student = assemble(config, weights).requires_grad_(True).train().to(device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.predictor = _predictor(config, recipe).to(device)
        learned = [*self.student.parameters(), *self.predictor.parameters()]
        # No weight decay for norms and biases: zero is not their neutral value.
        groups = [{"params": [p for p in learned if (p.ndim > 1) == matrix]} for matrix in (True, False)]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.done = 0
        self._mean, self._std = imagenet_colours(device)

    def step(self) -> Line:
        """Take one step; return its line of the log."""
        recipe, now = self.recipe, self.done
        rate, decay = recipe.rate_at(now), recipe.decay_at(now)
        for group, own in zip(self.optimiser.param_groups, (decay, 0.0), strict=True):
            group["lr"], group["weight_decay"] = rate, own
        parts = recipe.clips // recipe.together
        hidden_loss = visible_loss = redundancy_loss = spread = rank = 0.0
        for part in range(parts):
            video = self._clips(now * recipe.clips + part * recipe.together)
            target = targets(self.teacher, video)
            for kind in range(2):
                hidden, visible, redundant = self._loss(video, target, part, kind)
                loss = hidden + recipe.context_at(now) * visible + recipe.redundancy_weight * redundant
                (loss / (2 * parts)).backward()  # type: ignore[no-untyped-call]
                redundancy_loss += float(redundant.detach()) / (2 * parts)
                hidden_loss += float(hidden.detach()) / (2 * parts)
                visible_loss += float(visible.detach()) / (2 * parts)
        if now % 50 == 0:
            with torch.no_grad():
                spread, rank = spread_of(self.teacher(video))
        learned = [p for group in self.optimiser.param_groups for p in group["params"]]
        norm = float(nn.utils.clip_grad_norm_(learned, recipe.gradient_norm))
        if not np.isfinite(norm):
            raise _diverged(f"gradients of step {now}")
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        keep = recipe.momentum_at(now)
        with torch.no_grad():
            for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
                slow.lerp_(fast, 1 - keep)
        self.done += 1
        losses = {"hidden": hidden_loss, "visible": visible_loss, "redundancy": redundancy_loss}
        line = {"step": now, **losses, "rate": rate, "gradient": norm}
        return line | ({"spread": spread, "rank": rank} if rank else {})

    def _clips(self, first: int) -> Tensor:
        recipe = self.recipe
        frames = recipe.frames_at(self.done)
        clips = [
            training_clip(recipe.seed, i, frames=frames, rendered=recipe.rendered_frames, size=recipe.resolution)
            for i in range(first, first + recipe.together)
        ]
        return (torch.stack(clips).to(self.device).float() / 255 - self._mean) / self._std

    def _loss(self, video: Tensor, target: Tensor, part: int, kind: int) -> tuple[Tensor, Tensor, Tensor]:
        grid = self.student.grid(video)
        draws = np.random.Generator(np.random.PCG64([self.recipe.seed, self.done, part, kind]))
        mask = draw_mask(draws, (SHORT_RANGE, LONG_RANGE)[kind], *grid[1:])
        tubes = np.broadcast_to(mask, grid).reshape(-1)
        context = np.broadcast_to(context_weights(mask), grid).reshape(-1)
        visible = torch.from_numpy(np.flatnonzero(~tubes)).to(self.device)
        levels = encode_visible(self.student, video, visible)
        predicted = self.predictor(levels, visible, grid)
        hidden_tokens, weights = (torch.tensor(x, dtype=torch.float32, device=self.device) for x in (tubes, context))
        return *dense_loss(predicted, target, hidden_tokens, weights), redundancy(
            levels, len(HIERARCHY[self.config.depth])
        )

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs."""
        return {
            "done": self.done,
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "predictor": self.predictor.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Continue from a state."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.predictor.load_state_dict(state["predictor"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.done = state["done"]


def _diverged(where: str) -> MachineFailure:
    return MachineFailure(
        "training diverged",
        where=where,
        expected="finite numbers",
        fix="lower training.learning_rate, and choose another folder with --out",
    )


def first_weights(config: VJEPA21Config, recipe: Recipe) -> dict[str, Tensor]:
    """Initial weights: those of the untrained twin, with scaled-down residual branches.

    At full scale, twelve blocks of random attention mix the whole clip into every token, so that little of its own
    patch remains, and the initial teacher gives little to learn from.
    """
    weights = draw_weights(config, recipe.seed)
    for name in weights:
        if name.endswith(("attn.proj.weight", "mlp.fc2.weight")):
            weights[name] *= recipe.residual_scale
    return weights


def pretrain(
    name: str,
    encoder: Stored,
    recipe: Recipe,
    folder: Path,
    device: torch.device,
    *,
    threads: int | None = 1,
    save_every: int = 50,
    advance: Callable[[str], None] = lambda _: None,
) -> Trained:
    """Train one model, or resume its training.

    Args:
        name: name of the model.
        encoder: its architecture, and the name of its weights file.
        recipe: the training recipe.
        folder: folder of checkpoint, log and weights.
        device: device of the computation. Results are reproducible on the CPU of one machine with one thread.
        threads: torch threads; None leaves the choice to torch.
        save_every: steps between checkpoints; results do not depend on it.
        advance: called after each completed step, including those of earlier sessions.

    Raises:
        BadInput: when clips do not divide into tokens, the predictor cannot be built, or the folder has another
            training run: another architecture, recipe, code, device or number of threads.
        BadCheckpoint: when the checkpoint is damaged or the log is incomplete.
        CannotWrite: when the folder cannot be written.
        MachineFailure: when training diverges or the disk is full.
    """
    for frames in (recipe.frames, recipe.rendered_frames):
        encoder.check_input(frames, recipe.resolution)
    config = encoder.architecture
    run = {
        "architecture": config.model_dump(),
        "recipe": recipe.model_dump(),
        "code": code_state().digest,
        "device": str(device),
        "threads": threads,
    }
    identity = str(digest_of(run))
    checkpoint, log, weights = folder / "checkpoint.pt", folder / "log.jsonl", folder / encoder.file
    if threads is not None:
        torch.set_num_threads(threads)
    training = Training(config, recipe, device)
    lines: list[str] = []
    with writing(folder):
        if checkpoint.exists():
            _resume(training, checkpoint, identity)
            lines = _read_log(log, training.done)
            for _ in lines:
                advance("resumed")
        folder.mkdir(parents=True, exist_ok=True)
        # Find out now whether the folder can be written, and not after the first fifty steps.
        _write_log(log, lines)
    while training.done < recipe.steps:
        line = training.step()
        lines.append(json.dumps(line))
        advance(f"loss {line['hidden']:.4f}")
        if training.done % save_every == 0 or training.done == recipe.steps:
            buffer = io.BytesIO()
            torch.save({**training.state(), "identity": identity}, buffer)
            with writing(folder):
                # The log is written first, so that it has every step of the checkpoint.
                _write_log(log, lines)
                write_durably(checkpoint, buffer.getvalue())
    data = stored_weights(training.teacher, {"name": name, "recipe": recipe.model_dump(), "steps": training.done})
    with writing(folder):
        write_durably(weights, data)
    return Trained(weights, sha256(data), log)


def _resume(training: Training, checkpoint: Path, identity: str) -> None:
    """Continue from a checkpoint of the same run."""
    try:
        data = checkpoint.read_bytes()
    except OSError as error:
        raise BadCheckpoint(
            "the training checkpoint cannot be read",
            where=checkpoint,
            found=error.strerror,
            fix="check the file's permissions",
        ) from error
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        found = state["identity"]
        if found == identity:
            training.resume(state)
    except MemoryError:
        raise
    except Exception as error:  # torch raises errors of many types for damaged files
        raise BadCheckpoint(
            "the file is damaged or not a training checkpoint",
            where=checkpoint,
            found=type(error).__name__,
            fix="restore it from a copy, or start a new training in another folder with --out",
        ) from None
    if found != identity:
        raise BadInput(
            "the folder has another training run",
            where=checkpoint,
            expected=identity,
            found=found,
            fix="choose another folder with --out, or use the same model, recipe, code, device and threads as before",
        )


def _write_log(log: Path, lines: list[str]) -> None:
    write_durably(log, "".join(f"{line}\n" for line in lines).encode())


def _read_log(log: Path, done: int) -> list[str]:
    """The lines of the log up to a checkpoint; later steps are repeated."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    if len(lines) < done:
        raise BadCheckpoint(
            "the training log has fewer steps than the checkpoint",
            where=log,
            expected=f"{done} lines",
            found=f"{len(lines)} lines",
            fix="restore it from a copy, or start a new training in another folder with --out",
        )
    return lines[:done]


def stored_weights(teacher: VJEPA21, metadata: dict[str, Any]) -> bytes:
    """The bytes of a weights file: float16, with metadata as JSON in the header.

    Training has no still images. The patch embedding of images is therefore the sum of the video filter over its
    frames, which gives an image the token of a motionless clip.
    """
    state = {name: tensor.detach().cpu() for name, tensor in teacher.state_dict().items()}
    state["patch_embed_img.proj.weight"] = state["patch_embed.proj.weight"].sum(2, keepdim=True)
    state["patch_embed_img.proj.bias"] = state["patch_embed.proj.bias"]
    state["img_mod_embed"] = state["video_mod_embed"]
    halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in state.items()}
    if not all(bool(tensor.isfinite().all()) for tensor in halves.values()):
        raise _diverged("weights at the end, in float16")
    # One entry only: safetensors does not keep the order of several entries, and the bytes must be reproducible.
    return save(halves, {"training": canonical_json(metadata).decode()})


def _predictor(config: VJEPA21Config, recipe: Recipe) -> Predictor:
    narrow = {"embed_dim": recipe.predictor_dim, "num_heads": recipe.predictor_heads}
    try:
        shape = VJEPA21Config(**{**config.model_dump(), **narrow})
    except ValidationError as error:
        found = error.errors()[0]
        raise BadInput(
            "a predictor of this shape cannot be built",
            found=found["input"],
            expected=found["msg"],
            fix="change training.predictor_dim or training.predictor_heads",
        ) from None
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        predictor = Predictor(config.embed_dim, shape, recipe.predictor_depth)
        for parameter in predictor.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            elif parameter.ndim == 3:
                nn.init.normal_(parameter, std=0.02)
    return predictor
