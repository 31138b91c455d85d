"""The parts that a report is made of, and the page that shows them: one HTML file for phone, screen and print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import jinja2
from matplotlib.figure import Figure

from envise_tf.report.card import Card
from envise_tf.report.pictures import Picture, svg_uri

Rows = list[list[str]]


@dataclass(frozen=True)
class WidePicture:
    """A picture as wide as the page, drawn twice: its data URIs for screen and print and for a phone, its caption."""

    wide_uri: str
    narrow_uri: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: its heading.
        texts: paragraphs.
        wide: pictures as wide as the page.
        tables: each a list of rows, the first of them the header.
        folded: what the tables are called where they are folded away until the reader opens them; print shows them.
        figures: side by side where there is room.
        notes: a table whose last column is text that may be long; the first row is the header.
        maps: rows of four pictures.
        photographs: small pictures, many in a row.
        settings: preformatted text.
    """

    title: str
    texts: list[str] = field(default_factory=list)
    tables: list[Rows] = field(default_factory=list)
    figures: list[Picture] = field(default_factory=list)
    maps: list[list[Picture]] = field(default_factory=list)
    photographs: list[Picture] = field(default_factory=list)
    settings: str = ""
    wide: list[WidePicture] = field(default_factory=list)
    notes: Rows = field(default_factory=list)
    folded: str = ""


def page(
    title: str, sections: Sequence[Section], chosen: Sequence[str], headline: str = "", card: Card | None = None
) -> str:
    """Returns a report as HTML.

    Args:
        title: of the page.
        sections: in order.
        chosen: rows of tables that are highlighted, by their first cell.
        headline: its chief finding in a sentence.
        card: its verdict in figures.
    """
    environment = jinja2.Environment(loader=jinja2.PackageLoader("envise_tf.report"), autoescape=True)
    template = environment.get_template("report.html.j2")
    return template.render(title=title, headline=headline, sections=sections, chosen=list(chosen), card=card)


def picture_of(figure: Figure, caption: str) -> Picture:
    """Returns a figure with its caption."""
    return Picture(svg_uri(figure), caption)


def percent(share: float | None, digits: int = 1) -> str:
    """Returns a share in 0..1 as a percentage, or "none" for None."""
    return "none" if share is None else f"{100 * share:.{digits}f} %"


def as_points(share: float) -> str:
    """Returns a difference of shares in percentage points."""
    number = f"{100 * share:g}"
    return f"{number} point" if number == "1" else f"{number} points"
