"""How far a rebuilt network's outputs are from those of the original."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_ROUNDINGS = 16
_LEAST = 1e-4


@dataclass(frozen=True)
class Comparison:
    """Outputs of two networks that should be one.

    Attributes:
        images: number of them.
        largest: largest difference of two outputs.
        allowed: largest difference that rounding explains: 1e-4 of the largest output in single precision, which
            has 7 digits, two or three of which some hundred layers may cost; 16 units in the last place of a lower
            precision. A layer that means something else changes more (both figures are our choice).
        same_class: share of images whose largest output is that of the same class.
    """

    images: int
    largest: float
    allowed: float
    same_class: float

    @property
    def is_same(self) -> bool:
        """Whether the networks differ by no more than rounding; never where an output is not a number."""
        return self.largest <= self.allowed


def compared(original: np.ndarray, rebuilt: np.ndarray, precision: str = "float32") -> Comparison:
    """Returns how far outputs are apart.

    Args:
        original: (n, classes), n >= 1.
        rebuilt: the same of the other network.
        precision: that the network computes in: float32, float16 or bfloat16.
    """
    unit = {"float16": 2.0**-10, "bfloat16": 2.0**-7}.get(precision, 0.0)
    first, second = original.astype(np.float64), rebuilt.astype(np.float64)
    return Comparison(
        images=len(original),
        largest=float(np.abs(first - second).max()),
        allowed=max(_LEAST, _ROUNDINGS * unit) * float(np.abs(first).max()),
        same_class=float(np.mean(first.argmax(axis=-1) == second.argmax(axis=-1))),
    )
