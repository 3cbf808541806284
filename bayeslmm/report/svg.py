"""Figures as inline SVG: small, deterministic, accessible, without pyplot's global state."""

from __future__ import annotations

import html
import io
import re
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from bayeslmm.report.numbers import power

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito's colours, told apart by colour-blind readers; each is a CSS variable of the page,
# so that dark mode and print can exchange it.
INK, MUTED, RULE, PAPER = "#1d2730", "#5d6a75", "#d5dbe0", "#fefefe"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#aa4a85"
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    PAPER: "paper",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PURPLE: "purple",
}
CHAINS = (BLUE, ORANGE, GREEN, PURPLE)

FULL, HALF = 9.4, 4.6  # widths of a figure in inches, 96 CSS pixels each

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bayeslmm",
    "text.parse_math": False,  # a trait may be called "a$b"
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.8,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
}


@contextmanager
def style() -> Iterator[None]:
    """The report's matplotlib settings, for making a figure and for writing it."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        mpl.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure (inches) with constrained layout and a transparent background."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_alpha(0.0)
    return figure


def finish(axes: Axes, *, grid: str = "") -> None:
    """Transparent background, and grid lines across the given axis ("x" or "y")."""
    axes.patch.set_alpha(0.0)
    if grid:
        axes.grid(axis="x" if grid == "x" else "y")
        axes.set_axisbelow(True)


def log_ticks(axes: Axes, which: str, subs: tuple[float, ...] = (1.0,)) -> None:
    """Plain numbers (1, 0.01) and powers of ten (10⁵) on a logarithmic axis, "x" or "y"."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    axis.set_minor_formatter(NullFormatter())


def _tick(value: float) -> str:
    if 1e-3 < value < 1.1e4:
        return f"{value:,.4g}" if value < 1000 else f"{value:,.0f}"
    return power(value, 0).removeprefix("1 × ")


def inline(figure: Figure, key: str, description: str) -> Markup:
    """A figure as an ``<svg>`` element to stand in HTML.

    Parameters
    ----------
    figure
        A figure made within `style`.
    key
        Prefix of every id in it; unique in the page, letters, digits and hyphens.
    description
        What the picture shows, for those who do not see it.

    Returns
    -------
    Markup
        Without XML prolog, metadata and date; ids start with `key`; colours of `VARIABLES` are
        CSS variables.
    """
    buffer = io.BytesIO()
    nothing: dict[str, str | None] = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue().decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    opening = text[: text.index(">") + 1]
    view = re.search(r'viewBox="[^"]*"', opening)
    width = figure.get_figwidth() * 96
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{view.group(0) if view else ""} role="img" aria-labelledby="{key}-title" '
        f'style="max-width: {width:.0f}px; min-width: {0.6 * width:.0f}px">'
        f'<title id="{key}-title">{html.escape(description)}</title>'
    )
    body = _prefix_ids(text[len(opening) :], key)
    for colour, name in VARIABLES.items():
        body = body.replace(colour, f"var(--{name}, {colour})")
    body = re.sub(r"\n\s*", "\n", body)
    return Markup(head + body.strip())


def _prefix_ids(body: str, key: str) -> str:
    """Two SVG elements in a page share one space of ids."""
    body = re.sub(r'(?<=\sid=")(?=[^"]+")', f"{key}-", body)
    body = re.sub(r'(?<=href="#)', f"{key}-", body)
    return re.sub(r"(?<=url\(#)", f"{key}-", body)


def clean(name: object) -> str:
    """A name from a data file, fit to be shown: control and direction characters made visible.

    Examples
    --------
    >>> clean("height\\u202e\\x00")
    'height\\\\u202e\\\\x00'
    """
    return "".join(
        char.encode("unicode_escape").decode()
        if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")
        else char
        for char in str(name)
    )


def short(name: object, most: int = 28) -> str:
    """A cleaned name of at most `most` characters, for the axis of a figure."""
    text = clean(name)
    return text if len(text) <= most else text[: most - 1] + "…"
