"""The range of each number, written in the type of its setting, where checks and --help find the same one."""

from __future__ import annotations

import functools
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from envise_tf.errors import UserError

_LARGEST = 2**31 - 1
"""Of a whole number: what 32 bits hold."""


@dataclass(frozen=True)
class Within:
    """Numbers from `least` to `most`; never one that is not finite.

    Args:
        least: the smallest.
        most: the largest.
        excluded: ends that do not count.
    """

    least: float = -math.inf
    most: float = math.inf
    excluded: tuple[float, ...] = ()

    def __contains__(self, number: float) -> bool:
        return math.isfinite(number) and self.least <= number <= self.most and number not in self.excluded

    def __str__(self) -> str:
        lower = f"{'more than' if self.least in self.excluded else 'at least'} {self.least}"
        upper = f"{'less than' if self.most in self.excluded else 'at most'} {self.most}"
        if self.most in (math.inf, _LARGEST):
            return lower
        return f"{lower} and {upper}" if self.excluded else f"{self.least} to {self.most}"

    def require(self, number: float, told: str) -> None:
        """Returns if the number is in the range.

        Args:
            number: any.
            told: how the error begins.

        Raises:
            UserError: it is not.
        """
        if number in self:
            return
        if not math.isfinite(number):
            raise UserError(f"{told} expected a finite number")
        raise UserError(f"{told} expected {f'at most {self.most}' if number > self.most == _LARGEST else self}")


Count = Annotated[int, Within(1, _LARGEST)]
Seed = Annotated[int, Within(0, _LARGEST - 1)]
"""TensorFlow is given the next number, so that no seed is 0, which it takes for none."""
Side = Annotated[int, Within(8, 4096)]
"""Of an image, in pixels (our choice: smaller ones leave no feature map, larger ones no memory)."""
HeldBack = Annotated[int, Within(2, _LARGEST)]
"""At least one image to fit on and one to promise on."""
Positive = Annotated[float, Within(0, excluded=(0,))]
NotNegative = Annotated[float, Within(0)]
Share = Annotated[float, Within(0, 1)]
Proportion = Annotated[float, Within(0, 1, excluded=(0, 1))]
"""A share that is neither none nor all of it."""
NotAll = Annotated[float, Within(0, 1, excluded=(1,))]
NotNothing = Annotated[float, Within(0, 1, excluded=(0,))]


def hints(settings_class: type) -> dict[str, Any]:
    """Returns the type of each setting, with what is annotated to it."""
    return _hints(settings_class)


@functools.cache
def _hints(settings_class: type) -> dict[str, Any]:
    return typing.get_type_hints(settings_class, include_extras=True)


def annotated(hint: Any, kind: type) -> Any:
    """Returns what of a kind is annotated to a type or to a part of it (int | None, tuple[int, ...]), or None."""
    for part in getattr(hint, "__metadata__", ()):
        if isinstance(part, kind):
            return part
    found = (annotated(part, kind) for part in typing.get_args(hint))
    return next((part for part in found if part is not None), None)


def require_in_range(settings_class: type, name: str, value: Any, told: str) -> None:
    """Returns if the number, or each number of a tuple or of the values of a dict, is in the range of its setting.

    A word in place of numbers, such as auto, has no range.

    Raises:
        UserError: one is not, or a tuple is empty.
    """
    within = annotated(hints(settings_class)[name], Within)
    if within is None or value is None or isinstance(value, str):
        return
    if value == ():
        raise UserError(f"{told} expected at least one number")
    numbers = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
    for number in numbers:
        within.require(number, told)


class Checked:
    """Settings whose numbers are checked whenever they are made, by a command line, a file or a program."""

    def __post_init__(self) -> None:
        for name in hints(type(self)):
            value = getattr(self, name)
            shown = list(value) if isinstance(value, tuple) else value
            require_in_range(type(self), name, value, f"--{name} {shown} given:")
