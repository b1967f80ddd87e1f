"""Training: from a recipe and an architecture to weights, in steps that can be cut off at any point.

    folder/checkpoint.pt        everything that going on needs; written over, whole
    folder/log.jsonl            one line a step
    folder/NAME.safetensors     named as in the model's YAML: the teacher at the end, float16

Each step is a pure function of the state before it and of its number: clips and masks are drawn from the recipe's
seed and the step, so that a run that was killed and goes on ends in the same bits.
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
"""What the log says of one step."""


@dataclass(frozen=True)
class Trained:
    """What a training run left.

    Attributes:
        weights: the file.
        digest: of it.
        log: one JSON line a step.
    """

    weights: Path
    digest: Digest
    log: Path


def trainable(encoder: Encoder, name: str) -> Stored:
    """A model that can be trained.

    Raises:
        BadInput: for models that were never trained here: released sizes, raw pixels, untrained twins.
    """
    if not isinstance(encoder, Stored):
        raise BadInput(
            f"{name} is not trained with this project",
            expected="a model whose YAML has _target_: vjepa_stress.encoders.stored.Stored",
            found=type(encoder).__name__,
        )
    return encoder


class Training:
    """The state of one run: student, predictor, teacher, optimiser, and the number of steps done."""

    def __init__(self, config: VJEPA21Config, recipe: Recipe, device: torch.device) -> None:
        self.config, self.recipe, self.device = config, recipe, device
        weights = first_weights(config, recipe)
        self.student = assemble(config, weights).requires_grad_(True).train().to(device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.predictor = _predictor(config, recipe).to(device)
        learned = [*self.student.parameters(), *self.predictor.parameters()]
        # Decay pulls maps towards zero, not norms and biases, whose neutral value it would not be.
        groups = [{"params": [p for p in learned if (p.ndim > 1) == matrix]} for matrix in (True, False)]
        self.optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.done = 0
        self._mean, self._std = imagenet_colours(device)

    def step(self) -> Line:
        """Take one step, and say what the log keeps of it."""
        recipe, now = self.recipe, self.done
        rate, decay = recipe.rate_at(now), recipe.decay_at(now)
        for group, own in zip(self.optimiser.param_groups, (decay, 0.0), strict=True):
            group["lr"], group["weight_decay"] = rate, own
        parts = recipe.clips // recipe.together
        hidden_loss = visible_loss = alike = spread = rank = 0.0
        for part in range(parts):
            video = self._clips(now * recipe.clips + part * recipe.together)
            target = targets(self.teacher, video)
            for kind in range(2):
                hidden, visible, redundant = self._loss(video, target, part, kind)
                loss = hidden + recipe.context_at(now) * visible + recipe.redundancy_weight * redundant
                (loss / (2 * parts)).backward()  # type: ignore[no-untyped-call]
                alike += float(redundant.detach()) / (2 * parts)
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
        losses = {"hidden": hidden_loss, "visible": visible_loss, "redundancy": alike}
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
        seen = encode_visible(self.student, video, visible)
        predicted = self.predictor(seen, visible, grid)
        hidden_tokens, weights = (torch.tensor(x, dtype=torch.float32, device=self.device) for x in (tubes, context))
        return *dense_loss(predicted, target, hidden_tokens, weights), redundancy(
            seen, len(HIERARCHY[self.config.depth])
        )

    def state(self) -> dict[str, Any]:
        """Everything that going on needs."""
        return {
            "done": self.done,
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "predictor": self.predictor.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
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
        fix="lower the learning rate, with another --out",
    )


def first_weights(config: VJEPA21Config, recipe: Recipe) -> dict[str, Tensor]:
    """Weights that training begins from: those of the untrained twin, with what each block adds scaled down.

    At full size, twelve blocks of random attention mix so much of the whole clip into every token that little of its
    own patch is left, and a teacher that begins so has little to teach.
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
    """Train one model, or go on with it.

    Args:
        name: of the model.
        encoder: its architecture, and the name of its file of weights.
        recipe: how it is trained.
        folder: where checkpoint, log and weights are kept.
        device: where it is trained. Bits are the same on the processor of one machine with one thread.
        threads: torch threads, None for torch's own choice.
        save_every: steps between checkpoints; no result depends on it.
        advance: called after each step that is done, those of earlier sessions included.

    Raises:
        BadInput: when clips do not divide into tokens, the predictor cannot be built, or the folder holds another
            training run: another architecture, recipe or code, another device or number of threads.
        BadCheckpoint: when its checkpoint is damaged or its log incomplete.
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
        # A folder that cannot be written is found now, and not after the first fifty steps.
        _write_log(log, lines)
    while training.done < recipe.steps:
        line = training.step()
        lines.append(json.dumps(line))
        advance(f"loss {line['hidden']:.4f}")
        if training.done % save_every == 0 or training.done == recipe.steps:
            buffer = io.BytesIO()
            torch.save({**training.state(), "identity": identity}, buffer)
            with writing(folder):
                # The log goes first: a checkpoint never knows of steps that the log does not.
                _write_log(log, lines)
                write_durably(checkpoint, buffer.getvalue())
    data = stored_weights(training.teacher, {"name": name, "recipe": recipe.model_dump(), "steps": training.done})
    with writing(folder):
        write_durably(weights, data)
    return Trained(weights, sha256(data), log)


def _resume(training: Training, checkpoint: Path, identity: str) -> None:
    """Go on from a checkpoint of the same run."""
    try:
        data = checkpoint.read_bytes()
    except OSError as error:
        raise BadCheckpoint("this checkpoint cannot be read", where=checkpoint, found=error.strerror) from error
    try:
        state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        found = state["identity"]
        if found == identity:
            training.resume(state)
    except MemoryError:
        raise
    except Exception as error:  # on damaged files torch raises whatever it stumbles over
        raise BadCheckpoint(
            "this is no checkpoint of a training, or a damaged one",
            where=checkpoint,
            found=type(error).__name__,
            fix="restore it from a copy, or choose another folder with --out to start anew",
        ) from None
    if found != identity:
        raise BadInput(
            "this folder holds another training run",
            where=checkpoint,
            expected=identity,
            found=found,
            fix="choose another folder with --out, or the model, recipe, code, device and threads it was begun with",
        )


def _write_log(log: Path, lines: list[str]) -> None:
    write_durably(log, "".join(f"{line}\n" for line in lines).encode())


def _read_log(log: Path, done: int) -> list[str]:
    """The log up to a checkpoint; what was written after it is forgotten, and done again."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    if len(lines) < done:
        raise BadCheckpoint(
            "the log does not go as far as the checkpoint beside it",
            where=log,
            expected=f"{done} lines",
            found=f"{len(lines)} lines",
            fix="restore it from a copy, or choose another folder with --out to start anew",
        )
    return lines[:done]


def stored_weights(teacher: VJEPA21, told: dict[str, Any]) -> bytes:
    """The bytes of a weights file: float16, with what there is to tell about it as JSON in its header.

    A still image was never trained on; it is given the token of a clip that stands still, which is what the sum of a
    video filter over its frames makes of it.
    """
    state = {name: tensor.detach().cpu() for name, tensor in teacher.state_dict().items()}
    state["patch_embed_img.proj.weight"] = state["patch_embed.proj.weight"].sum(2, keepdim=True)
    state["patch_embed_img.proj.bias"] = state["patch_embed.proj.bias"]
    state["img_mod_embed"] = state["video_mod_embed"]
    halves = {name: tensor.to(torch.float16).contiguous() for name, tensor in state.items()}
    if not all(bool(tensor.isfinite().all()) for tensor in halves.values()):
        raise _diverged("weights at the end, in float16")
    # One entry only: safetensors does not keep the order of several, and the same weights must be the same bytes.
    return save(halves, {"training": canonical_json(told).decode()})


def _predictor(config: VJEPA21Config, recipe: Recipe) -> Predictor:
    narrow = {"embed_dim": recipe.predictor_dim, "num_heads": recipe.predictor_heads}
    try:
        shape = VJEPA21Config(**{**config.model_dump(), **narrow})
    except ValidationError as error:
        found = error.errors()[0]
        raise BadInput(
            "no predictor of this shape can be built", found=found["input"], expected=found["msg"]
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
