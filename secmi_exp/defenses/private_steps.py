"""Steps of DP-SGD in a Lightning module, through opacus' hooks and optimizer.

Source: Abadi et al., "Deep Learning with Differential Privacy" (CCS 2016), algorithm 1.
"""

import logging
import math
import warnings
from typing import Any

import pytorch_lightning as pl
import torch
from opacus.grad_sample import GradSampleHooks
from opacus.optimizers import DPOptimizer
from opacus.validators import ModuleValidator
from torch import Tensor

from secmi_exp.defenses.accounting import Spending
from secmi_exp.defenses.dp_sgd import DPSGD
from secmi_exp.engine.batches import Piece
from secmi_exp.engine.optimization import DrawsApart, Optimization
from secmi_exp.engine.training import step_seed
from secmi_exp.errors import UserError, first_line
from secmi_exp.store import Json

log = logging.getLogger(__name__)

NOISE = 1
"""Keeps the seeds of the noise apart from those of everything else that a step draws."""


class ContiguousHooks(GradSampleHooks):  # type: ignore[misc]  # opacus has no types
    """opacus' hooks, which leave the gradient of each sample of a microbatch at each weight.

    opacus 1.6 reads a convolution's input by strides that are right for contiguous memory only (`unfold2d`), and would
    give wrong gradients without a word for the layers behind an attention block.
    """

    def rearrange_grad_samples(self, **arguments: Any) -> tuple[list[Tensor], Tensor]:
        """A layer's inputs, and the gradients at its output."""
        inputs, gradients = super().rearrange_grad_samples(**arguments)
        return [each.contiguous() for each in inputs], gradients.contiguous()


class PrivateSteps(Optimization):
    """Optimization by DP-SGD: takes a Poisson batch whole, and its images in microbatches.

    The loss is drawn for each microbatch apart, so that the memory of a step doesn't depend on its batch's size.
    """

    privacy: DPSGD
    spending: Spending
    expected_batch_size: int
    planned_steps: int

    def defend(self, privacy: DPSGD, *, samples: int, batch_size: int, max_steps: int) -> None:
        """Set what its constructor doesn't know.

        Args:
            privacy: the defense's settings.
            samples: in the training set.
            batch_size: expected.
            max_steps: that the recipe wants.

        Raises:
            UserError: where not even one step can be afforded.
        """
        self.automatic_optimization = False
        self.privacy, self.expected_batch_size, self.planned_steps = privacy, min(batch_size, samples), max_steps
        rate = self.expected_batch_size / samples
        self.spending = Spending(privacy.noise_multiplier, rate, privacy.delta, privacy.accountant)
        self.max_steps = max_steps
        if privacy.max_epsilon is not None:
            self.max_steps = self.spending.affordable(max_steps, privacy.max_epsilon)
            if self.max_steps == 0:
                raise UserError(
                    f"One step of DP-SGD spends ε={self.spending.epsilon(1):.4g}, above "
                    f"defense.max_epsilon={privacy.max_epsilon:g}: raise it or defense.noise_multiplier."
                )

    def on_fit_start(self) -> None:
        """Weights stay contiguous, as gradients by opacus are; tell what is to come."""
        warnings.filterwarnings("ignore", message="Full backward hook is firing when")  # images need no gradients
        warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual opt")  # it saves what it should
        log.info(
            "DP-SGD: each of %d images is in a step's batch with probability %.4g; %s at δ=%g after %d steps.",
            round(self.expected_batch_size / self.spending.sample_rate), self.spending.sample_rate,
            self._epsilon_in_words(self.max_steps), self.privacy.delta, self.max_steps,
        )  # fmt: skip

    def on_fit_end(self) -> None:
        """Leave the network as it was, and tell why the training has ended."""
        self.hooks.cleanup()
        if self.max_steps < self.planned_steps:
            log.info(
                "DP-SGD stopped after %d of %d steps: %s there, and one step more would exceed defense.max_epsilon=%g.",
                self.max_steps, self.planned_steps, self._epsilon_in_words(self.max_steps), self.privacy.max_epsilon,
            )  # fmt: skip

    def make_optimizer(self) -> DPOptimizer:
        """The recipe's, on clipped gradients with noise.

        Raises:
            UserError: for a network whose samples don't have gradients of their own, and for what torch refuses.
        """
        mistakes = ModuleValidator.validate(self, strict=False)
        if mistakes:
            raise UserError(
                f"The network can't be trained with defense=dp_sgd ({first_line(mistakes[0])}): "
                "use layers that treat each image alone, such as GroupNorm."
            )
        optimizer = super().make_optimizer()
        self.hooks = ContiguousHooks(self, loss_reduction="mean")
        self.noise = torch.Generator(self.trainer.strategy.root_device)
        return DPOptimizer(
            optimizer,
            noise_multiplier=self.privacy.noise_multiplier,
            max_grad_norm=self.privacy.max_grad_norm,
            expected_batch_size=self.expected_batch_size,
            generator=self.noise,
        )

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """One step on a batch of any size, none included; gives the mean loss of the batch."""
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        private: DPOptimizer = optimizer.optimizer
        size, at_once = len(batch[0]), self.privacy.microbatch_size
        total = torch.zeros((), device=self.device)
        for start in range(0, size, at_once):
            arrays = [array[start : start + at_once] for array in batch]
            draws = DrawsApart(Piece(start, start + len(arrays[0]), size), self.device, self.seed, self.global_step)
            draws.begin()
            loss = self.loss(arrays, draws)
            total += loss.detach() * len(arrays[0])
            with torch.autocast(self.device.type, enabled=False):
                self._keep_gradients(loss, private, last=start + at_once >= size)
        if not size:
            for weights in private.params:
                weights.grad_sample = weights.new_zeros(0, *weights.shape)
        self.noise.manual_seed(step_seed(self.seed, self.global_step, 0, NOISE))
        with torch.autocast(self.device.type, enabled=False):
            optimizer.step()
        private.zero_grad(set_to_none=True)
        schedule.step()
        return total / max(size, 1)

    def _keep_gradients(self, loss: Tensor, private: DPOptimizer, *, last: bool) -> None:
        """Add a microbatch's clipped gradients to the others'; the last ones are added by the step itself."""
        self.manual_backward(loss)
        for weights in private.params:  # the norms of low-precision gradients would be too rough to clip by
            weights.grad_sample = weights.grad_sample.to(weights.dtype)
        if not last:
            private.signal_skip_step()
            private.step()
            private.zero_grad(set_to_none=True)

    def spent(self) -> dict[str, Json]:
        """What the whole training spends, for whoever reads the results."""
        epsilon = self.spending.epsilon(self.max_steps)
        return {
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

    def _epsilon_in_words(self, steps: int) -> str:
        epsilon = self.spending.epsilon(steps)
        return f"ε={epsilon:.4g}" if math.isfinite(epsilon) else "no guarantee"


class PrivacyLog(pl.Callback):
    """Logs the ε spent so far, and its δ, whenever a checkpoint is due.

    Args:
        name: prefix of the metrics.
        every: steps between looks.
    """

    def __init__(self, name: str, every: int):
        self.name, self.every = name, every

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look where this is one of those steps."""
        assert isinstance(pl_module, PrivateSteps)
        step = trainer.global_step
        if trainer.loggers and (step % self.every == 0 or step == trainer.max_steps):
            spent = {f"{self.name}/epsilon": pl_module.spending.epsilon(step)}
            pl_module.log_dict(spent | {f"{self.name}/delta": pl_module.privacy.delta})
