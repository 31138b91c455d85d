"""python torch_step.py TEACHER_CLASSES CLASSES BATCH: a step of distillation in PyTorch, to be timed beside ours.

Runs in an environment of its own, with torch; it knows nothing of envise-tf. The networks are those of the preset
cifar100-zoo: WRN-16-2 as the teacher, and the binary student of three stages of 32, 64 and 128 channels with four
binary convolutions each. A step asks the teacher, and the student learns the teacher's probabilities of its classes
with Adam, on one batch of noise that stays. For each line on stdin it takes that many steps and says on stdout how many
seconds they took; the first line that it says is torch's version.
"""

from __future__ import annotations

import os
import sys
import time

import torch
from torch import nn
from torch.nn import functional

SIDE = 32


class Sign(torch.autograd.Function):
    """The sign, whose gradient is that of a piecewise parabola for activations [Liu et al. 2018], else a clip."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, is_activation: bool) -> torch.Tensor:
        ctx.save_for_backward(x)
        ctx.is_activation = is_activation
        return torch.where(x >= 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        (x,) = ctx.saved_tensors
        size = x.abs()
        slope = 2 * (1 - size) if ctx.is_activation else 1.0
        return torch.where(size <= 1, gradient * slope, torch.zeros_like(gradient)), None


class Unit(nn.Module):
    """A binary convolution with normalisation, PReLU and a shortcut."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(0.1 * torch.randn(channels, before, 3, 3))
        self.stride, self.normalised = stride, nn.BatchNorm2d(channels)
        self.activated = nn.PReLU(channels)
        self.shortcut = nn.Identity()
        if before != channels:
            halved = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(halved, nn.Conv2d(before, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        signs = functional.pad(Sign.apply(x, True), (1, 1, 1, 1), value=1.0)
        y = functional.conv2d(signs, Sign.apply(self.kernel, False), stride=self.stride)
        return self.shortcut(x) + self.activated(self.normalised(y))


class Block(nn.Module):
    """Two convolutions of a wide ResNet, activated before each."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(before), nn.ReLU())
        self.others = nn.Sequential(
            nn.Conv2d(before, channels, 3, stride, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
        )
        self.shortcut = nn.Identity() if before == channels else nn.Conv2d(before, channels, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = self.first(x)
        shortcut = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(activated)
        return shortcut + self.others(activated)


def stages(kind: type[nn.Module], widths: tuple[int, ...], count: int) -> list[nn.Module]:
    """Returns `count` units of each width, the grid halved before every stage but the first."""
    found, before = [], widths[0]
    for stage, width in enumerate(widths):
        for number in range(count):
            found.append(kind(before, width, 2 if stage and not number else 1))
            before = width
    return found


def teacher(classes: int) -> nn.Module:
    """Returns WRN-16-2."""
    last = [nn.BatchNorm2d(128), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes)]
    return nn.Sequential(nn.Conv2d(3, 32, 3, padding=1, bias=False), *stages(Block, (32, 64, 128), 2), *last)


def student(classes: int) -> nn.Module:
    """Returns the binary student."""
    stem = [nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32)]
    last = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes)]
    return nn.Sequential(*stem, *stages(Unit, (32, 64, 128), 4), *last)


def main(teacher_classes: int, classes: int, batch: int) -> None:
    """Takes steps when asked."""
    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count() or 1)
    guide, learner = (
        network.to(memory_format=torch.channels_last) for network in (teacher(teacher_classes).eval(), student(classes))
    )
    kernels = [unit.kernel for unit in learner if isinstance(unit, Unit)]
    adam = torch.optim.Adam(learner.parameters(), 1e-3)
    images = (2 * torch.rand(batch, 3, SIDE, SIDE) - 1).to(memory_format=torch.channels_last)
    print(f"torch {torch.__version__}", flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            with torch.no_grad():
                target = functional.softmax(guide(images)[:, :classes], dim=-1)
            adam.zero_grad()
            functional.kl_div(functional.log_softmax(learner(images), -1), target, reduction="batchmean").backward()
            adam.step()
            with torch.no_grad():
                for kernel in kernels:
                    kernel.clamp_(-1, 1)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
