"""The verdict that a page opens with: its few figures, large, and what is to be known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Tone = Literal["plain", "good", "bad"]


@dataclass(frozen=True)
class Fact:
    """One figure of a card.

    Attributes:
        label: what it is.
        value: the figure, with its unit.
        note: on what it rests.
        tone: good or bad where the figure is a verdict.
    """

    label: str
    value: str
    note: str = ""
    tone: Tone = "plain"


@dataclass(frozen=True)
class Card:
    """The verdict of a page.

    Attributes:
        facts: the most important first.
        sentences: what it supposes, and what helps where there is nothing to suppose.
    """

    facts: list[Fact]
    sentences: list[str]
