"""SVG elements as strings: paths, markers, text, with colours that the page can change."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bayeslmm.numerics.arrays import Floats
from bayeslmm.report.svg import INK, PAPER, VARIABLES

# Outlines of the markers, in sizes; the last point meets the first.
SHAPES = {
    "circle": "",
    "square": "m{0:.2f} {0:.2f}h-{1:.2f}v-{1:.2f}h{1:.2f}z",
    "triangle": "m0 -{0:.2f}l{0:.2f} {1:.2f}h-{1:.2f}z",
    "diamond": "m0 -{0:.2f}l{0:.2f} {0:.2f}l-{0:.2f} {0:.2f}l-{0:.2f} -{0:.2f}z",
}
FINEST = 1  # decimals of a pixel


def colour_of(colour: str) -> str:
    """Return a colour as a CSS variable of the page, with the colour itself as fallback."""
    return f"var(--{VARIABLES[colour]},{colour})" if colour in VARIABLES else colour


def stroke(
    colour: str, width: float, dash: Iterable[float] = (), opacity: float = 1.0, cap: str = ""
) -> str:
    """Return the style of a line; `dash` is in line widths."""
    look = f"fill:none;stroke:{colour_of(colour)};stroke-width:{width:g}"
    if lengths := " ".join(f"{width * length:.2g}" for length in dash):
        look += f";stroke-dasharray:{lengths}"
    if opacity < 1:
        look += f";stroke-opacity:{opacity:.2g}"
    return look + (f";stroke-linecap:{cap}" if cap else ";stroke-linejoin:round")


def path(drawn: str, look: str, clip: str = "") -> str:
    """Make a path element; an empty string if `drawn` is empty."""
    return f'<path d="{drawn}" style="{look}"{clip}/>' if drawn else ""


def polyline(x: Floats, y: Floats) -> str:
    """Make a line through pixels (k,), interrupted at nan; points closer than 0.1 are skipped."""
    known = np.isfinite(x) & np.isfinite(y)
    at = np.round(np.stack([x, y], axis=1), FINEST)
    new = np.ones(len(at), dtype=bool)
    new[1:] = np.any(at[1:] != at[:-1], axis=1)
    out, lifted = [], True
    for (a, b), there, kept in zip(at.tolist(), known.tolist(), new.tolist(), strict=True):
        if not there:
            lifted = True
        elif kept or lifted:
            out.append(f"{'M' if lifted else 'L'}{a:.10g} {b:.10g}")
            lifted = False
    return "".join(out)


def polygon(x: Floats, y: Floats) -> str:
    """Make a closed line through pixels (k,)."""
    drawn = polyline(x, y)
    return f"{drawn}z" if drawn else ""


def rectangle(x0: float, y0: float, x1: float, y1: float) -> str:
    """Make a rectangle as part of a path."""
    return f"M{x0:.1f} {y0:.1f}H{x1:.1f}V{y1:.1f}H{x0:.1f}z"


def disc(x: Floats, y: Floats, size: float, colour: str, opacity: float) -> str:
    """Make filled circles at pixels (k,) as one path of dots, without duplicates."""
    at = dict.fromkeys(map(tuple, np.round(np.stack([x, y], axis=1), FINEST).tolist()))
    drawn = "".join(f"M{a:.10g} {b:.10g}h.01" for a, b in at)
    return path(drawn, stroke(colour, size, opacity=opacity, cap="round"))


def shapes(
    x: Floats, y: Floats, size: float, shape: str, colour: str, hollow: bool, opacity: float
) -> str:
    """Make markers at pixels (k,), filled, or hollow with the page's background colour."""
    r = size / 2
    inside = PAPER if hollow and shape == "circle" else "none" if hollow else colour
    look = f"fill:{inside if inside == 'none' else colour_of(inside)}"
    look += f";stroke:{colour_of(colour)};stroke-width:{1.6 if hollow else 0}"
    look += f";opacity:{opacity:g}" if opacity < 1 else ""
    pairs = zip(x.tolist(), y.tolist(), strict=True)
    if shape == "circle":
        ring = f"a{r:.2f} {r:.2f} 0 1 0 {size:.2f} 0a{r:.2f} {r:.2f} 0 1 0 -{size:.2f} 0z"
        return path("".join(f"M{a - r:.1f} {b:.1f}{ring}" for a, b in pairs), look)
    form = SHAPES[shape].format(r, size)
    return path("".join(f"M{a:.1f} {b:.1f}{form}" for a, b in pairs), look)


def text(
    x: float,
    y: float,
    content: str,
    size: float,
    anchor: str = "start",
    *,
    turn: float = 0,
    colour: str = INK,
    bold: bool = False,
) -> str:
    """Make an escaped text vertically centred at y, turned by degrees about (x, y)."""
    if not content:
        return ""
    look = "" if colour == INK else f' style="fill:{colour_of(colour)}"'
    turned = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y + 0.36 * size:.1f}" font-size="{size:g}"'
        f' text-anchor="{anchor}"{weight}{turned}{look}>{content}</text>'
    )
