"""The published procedure, written plainly and with care: what this project's speed is measured against.

It follows what the authors' released scripts do (https://github.com/jinhaoduan/SecMI): each t_sec starts from x_0 anew,
walks up with one query a step, keeps every state, goes one step up and down again, in float32, in batches of 128; and
the training loop of pytorch-ddpm (https://github.com/w86763777/pytorch-ddpm), on which their targets were trained.
Nothing is slowed down: no gradients are kept, and batches come from memory.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BATCH_SIZE = 128


def t_error(predict: Callable[[Tensor, Tensor], Tensor], x_0: Tensor, abar: Tensor, t_sec: int, k: int) -> Tensor:
    """‖ψ(φ(x̃_t)) − x̃_t‖² at t = t_sec − k, from x_0 on. [B]."""

    def step(x: Tensor, t_from: int, t_to: int, eps: Tensor) -> Tensor:
        clean = (x - (1 - abar[t_from]).sqrt() * eps) / abar[t_from].sqrt()
        return abar[t_to].sqrt() * clean + (1 - abar[t_to]).sqrt() * eps

    def noise(x: Tensor, t: int) -> Tensor:
        return predict(x, torch.full((len(x),), t, device=x.device))

    states = [x_0]
    for t in range(0, t_sec - k, k):
        states.append(step(states[-1], t, t + k, noise(states[-1], t)))
    t = t_sec - k
    up = step(states[-1], t, t_sec, noise(states[-1], t))
    back = step(up, t_sec, t, noise(up, t_sec))
    return (back - states[-1]).flatten(1).square().sum(1)


@torch.no_grad()
def t_errors(network: nn.Module, images: Tensor, abar: Tensor, steps: list[int], k: int) -> Tensor:
    """At each of these t_sec, [n, number of steps].

    Args:
        network: a `UNet2DModel` that predicts ε.
        images: in [−1, 1], [n, C, H, W], on the device.
        abar: ᾱ, [T].
        steps: values of t_sec.
        k: DDIM interval.
    """

    def predict(x: Tensor, t: Tensor) -> Tensor:
        output: Tensor = network(x, t).sample
        return output

    columns = []
    for t_sec in steps:
        parts = [t_error(predict, batch, abar, t_sec, k) for batch in images.split(BATCH_SIZE)]
        columns.append(torch.cat(parts))
    return torch.stack(columns, dim=1)


def train(
    network: nn.Module, images: Tensor, abar: Tensor, batch_size: int, lr: float, warmup: int, clip: float, decay: float
) -> Iterator[float]:
    """Train for ever: a loss a step, read from the device as their progress bar does."""
    average = copy.deepcopy(network)
    optimizer = torch.optim.Adam(network.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step, warmup) / warmup)
    random = np.random.default_rng(0)
    network.train()
    while True:
        order = random.permutation(len(images))
        for batch in range(len(images) // batch_size):
            rows = torch.from_numpy(order[batch * batch_size : (batch + 1) * batch_size])
            x_0 = images[rows.to(images.device)]
            t = torch.randint(len(abar), (batch_size,), device=x_0.device)
            eps = torch.randn_like(x_0)
            scale = abar[t][:, None, None, None]
            loss = (network(scale.sqrt() * x_0 + (1 - scale).sqrt() * eps, t).sample - eps).square().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
            optimizer.step()
            schedule.step()
            move(average, network, decay)
            yield loss.item()


@torch.no_grad()
def move(average: nn.Module, network: nn.Module, decay: float) -> None:
    """The moving average of the weights, tensor by tensor."""
    current: dict[str, Any] = network.state_dict()
    for name, value in average.state_dict().items():
        value.copy_(value * decay + current[name] * (1 - decay))
