"""The training step of DP-SGD, by opacus' hooks and optimizer.

Source: Abadi et al., "Deep Learning with Differential Privacy" (CCS 2016), algorithm 1.
"""

import logging
import math
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from opacus.validators import ModuleValidator
from torch import Tensor

from secmi_exp.defenses.accounting import Spending
from secmi_exp.defenses.defense import Recipe
from secmi_exp.defenses.dp_sgd_settings import PRIVACY, DPSGDSettings
from secmi_exp.engine.batches import Piece
from secmi_exp.engine.optimization import DrawsApart, Optimization
from secmi_exp.engine.training import step_seed
from secmi_exp.engine.training_step import TrainingStep
from secmi_exp.errors import UserError, first_line
from secmi_exp.files.strict_json import Json
from secmi_exp.random_streams import Purpose
from secmi_exp.store import write_json

log = logging.getLogger(__name__)


class ContiguousHooks(GradSampleHooks):  # type: ignore[misc]  # opacus has no types
    """opacus' hooks, which store the gradient of each sample of a microbatch at each weight.

    opacus 1.6 reads a convolution's input by strides that are right for contiguous memory only (`unfold2d`), and would
    silently give wrong gradients for the layers behind an attention block.
    """

    def rearrange_grad_samples(self, **arguments: Any) -> tuple[list[Tensor], Tensor]:
        """Return a layer's inputs and the gradients at its output, contiguous."""
        inputs, gradients = super().rearrange_grad_samples(**arguments)
        return [each.contiguous() for each in inputs], gradients.contiguous()


class PrivateStep(TrainingStep):
    """Takes a Poisson batch whole, and its images in microbatches.

    The loss is drawn for each microbatch apart, so that the memory of a step doesn't depend on its batch's size.

    Args:
        privacy: settings of DP-SGD.
        recipe: settings of the training.
        samples: size of the training set.

    Raises:
        UserError: where one step already spends more than `max_epsilon`.
    """

    manual = True
    poisson = True

    def __init__(self, privacy: DPSGDSettings, recipe: Recipe, samples: int):
        self.privacy, self.planned_steps = privacy, recipe.max_steps
        self.expected_batch_size = min(recipe.batch_size, samples)
        rate = self.expected_batch_size / samples
        self.spending = Spending(privacy.noise_multiplier, rate, privacy.delta, privacy.accountant)
        self.max_steps = recipe.max_steps
        if privacy.max_epsilon is not None:
            self.max_steps = self.spending.affordable(recipe.max_steps, privacy.max_epsilon)
            if self.max_steps == 0:
                raise UserError(
                    f"One step of DP-SGD spends ε={self.spending.epsilon(1):.4g}, above "
                    f"defense.max_epsilon={privacy.max_epsilon:g}: raise it or defense.noise_multiplier."
                )
        self.callbacks = [PrivacyLog(self, recipe.checkpoint_every)]

    def wrap_optimizer(self, optimizer: torch.optim.Optimizer, module: Optimization) -> DPOptimizer:
        """Return the optimizer on clipped gradients with noise.

        Raises:
            UserError: for a network that mixes samples, so that they have no gradients of their own.
        """
        mistakes = ModuleValidator.validate(module, strict=False)
        if mistakes:
            raise UserError(
                f"The network can't be trained with defense=dp_sgd ({first_line(mistakes[0])}): "
                "use layers that treat each image alone, such as GroupNorm."
            )
        self.hooks = ContiguousHooks(module, loss_reduction="mean")
        self.noise = torch.Generator(module.trainer.strategy.root_device)
        return DPOptimizer(
            optimizer,
            noise_multiplier=self.privacy.noise_multiplier,
            max_grad_norm=self.privacy.max_grad_norm,
            expected_batch_size=self.expected_batch_size,
            generator=self.noise,
        )

    def take(self, module: Optimization, batch: list[Tensor]) -> Tensor:
        """Take one step on a batch of any size, even 0; return the mean loss of the batch."""
        optimizer: Any = module.optimizers()
        schedule: Any = module.lr_schedulers()
        private: DPOptimizer = optimizer.optimizer
        size, at_once = len(batch[0]), self.privacy.microbatch_size
        total = torch.zeros((), device=module.device)
        for start in range(0, size, at_once):
            arrays = [array[start : start + at_once] for array in batch]
            piece = Piece(start, start + len(arrays[0]), size)
            draws = DrawsApart(piece, module.device, module.seed, module.global_step)
            draws.begin()
            loss = module.loss(arrays, draws)
            total += loss.detach() * len(arrays[0])
            with torch.autocast(module.device.type, enabled=False):
                module.manual_backward(loss)
                clip_gradients(private, last=start + at_once >= size)
        if not size:
            for weights in private.params:
                weights.grad_sample = weights.new_zeros(0, *weights.shape)
        self.noise.manual_seed(step_seed(module.seed, module.global_step, 0, Purpose.DP_SGD))
        with torch.autocast(module.device.type, enabled=False):
            optimizer.step()
        private.zero_grad(set_to_none=True)
        schedule.step()
        return total / max(size, 1)

    def save_report(self, folder: Path) -> None:
        """Write what the whole training spends."""
        epsilon = self.spending.epsilon(self.max_steps)
        report: dict[str, Json] = {
            "epsilon": epsilon if math.isfinite(epsilon) else None,
            "delta": self.privacy.delta,
            "accountant": self.privacy.accountant,
            "neighbours": "one image more or less",
            "holds_against": "who does not know the seed",
            "noise_multiplier": self.privacy.noise_multiplier,
            "max_grad_norm": self.privacy.max_grad_norm,
            "sample_rate": self.spending.sample_rate,
            "expected_batch_size": self.expected_batch_size,
            "steps": self.max_steps,
            "planned_steps": self.planned_steps,
            "max_epsilon": self.privacy.max_epsilon,
        }
        write_json(folder / PRIVACY, report)

    def describe_epsilon(self) -> str:
        """Return the ε of the whole training in words."""
        epsilon = self.spending.epsilon(self.max_steps)
        return f"ε={epsilon:.4g}" if math.isfinite(epsilon) else "no guarantee"


def clip_gradients(private: DPOptimizer, *, last: bool) -> None:
    """Add a microbatch's clipped gradients to the others'; the last ones are added by the optimizer's step itself."""
    for weights in private.params:  # the norms of low-precision gradients would be too rough to clip by
        weights.grad_sample = weights.grad_sample.to(weights.dtype)
    if not last:
        private.signal_skip_step()
        private.step()
        private.zero_grad(set_to_none=True)


class PrivacyLog(pl.Callback):
    """Logs the ε spent so far, and its δ, whenever a checkpoint is due; removes opacus' hooks at the end.

    Args:
        step: the training's step.
        every: steps between logs.
    """

    def __init__(self, step: PrivateStep, every: int):
        self.step, self.every = step, every

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what is going to be spent."""
        warnings.filterwarnings("ignore", message="Full backward hook is firing when")  # images need no gradients
        warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual opt")  # it saves what it should
        step = self.step
        log.info(
            "DP-SGD: each of %d images is in a step's batch with probability %.4g; %s at δ=%g after %d steps.",
            round(step.expected_batch_size / step.spending.sample_rate), step.spending.sample_rate,
            step.describe_epsilon(), step.privacy.delta, step.max_steps,
        )  # fmt: skip

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log in every such step, and in the last one."""
        done, privacy = trainer.global_step, self.step.privacy
        if trainer.loggers and (done % self.every == 0 or done == trainer.max_steps):
            spent = {"target/epsilon": self.step.spending.epsilon(done), "target/delta": privacy.delta}
            pl_module.log_dict(spent)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore the network, and log where ε has ended the training early."""
        step = self.step
        step.hooks.cleanup()
        if step.max_steps < step.planned_steps:
            log.info(
                "DP-SGD stopped after %d of %d steps: %s there, and one step more would exceed defense.max_epsilon=%g.",
                step.max_steps, step.planned_steps, step.describe_epsilon(), step.privacy.max_epsilon,
            )  # fmt: skip
