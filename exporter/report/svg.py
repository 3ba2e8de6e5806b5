"""A matplotlib figure as inline SVG that takes its colours and its typeface from the page.

Figures are drawn in stand-in colours, one for each of the page's CSS variables, which are put in
their place afterwards: one drawing then serves light and dark.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any, Final

from markupsafe import Markup, escape

from exporter.gate.text import printable

__all__ = ["COLOURS", "drawing", "inline_svg", "short", "standalone", "telling"]

_LONGEST_NAME: Final = 26

# CSS variable -> stand-in. No stand-in is black, which matplotlib leaves unwritten.
COLOURS: Final = {
    "ink": "#010203",
    "muted": "#020304",
    "line": "#030405",
    "page": "#040506",
    "stage": "#050607",
    "fp32": "#060708",
    "tflite": "#070809",
    "onnx": "#08090a",
    "ort": "#090a0b",
}

_TAG: Final = re.compile(r"<[^>]*>")  # matplotlib escapes > in text and in attributes
_FOREIGN: Final = re.compile(
    r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", re.DOTALL
)
_ROOT_SIZE: Final = re.compile(r' (?:width|height)="[\d.]+pt"')
_NAMESPACE: Final = re.compile(r' xmlns(?::xlink)?="[^"]*"')
_ID: Final = re.compile(r'(\bid=|href=)"(#?)')
_FONT: Final = re.compile(r"font: (?:(\d+|bold) )?([\d.]+)px [^;\"]*")
_FAMILY: Final = re.compile(r"font-family: [^;\"]*(?:; )?")
_STYLE: Final = {
    "svg.fonttype": "none",  # text stays text: it takes the page's typeface and can be searched
    "svg.hashsalt": "edgewright",  # the same figures give the same bytes
    "text.parse_math": False,  # a layer's name may hold a dollar sign
    "font.size": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS["line"],
    "axes.labelcolor": COLOURS["muted"],
    "axes.labelsize": 8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": COLOURS["line"],
    "grid.linewidth": 0.6,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
}


@contextmanager
def drawing(width_in: float, height_in: float) -> Iterator[Any]:
    """A figure of this size in inches, off screen, in the report's style."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Text is laid out here but drawn by the browser, which has the missing glyphs.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def inline_svg(figure: Any, name: str, description: str) -> Markup:
    """The figure as an `<svg>` element to stand in a page; call it inside `drawing`.

    Args:
        figure: what `drawing` gave.
        name: a prefix for every id, so that two pictures on one page do not share any.
        description: what the picture shows, for those who cannot see it.
    """
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = _FOREIGN.sub("", text)
    # Only inside tags: what a layer is called stays as it is.
    text = _TAG.sub(lambda tag: _page_tag(tag.group(), name), text)
    head = f'<svg class="plot" role="img" aria-label="{escape(description)}"'
    text = _ROOT_SIZE.sub("", text, count=2).replace("<svg", head, 1)
    # matplotlib escapes the text that it draws; nothing else in the drawing comes out of a file.
    return Markup(text.strip())  # noqa: S704


def _page_tag(tag: str, name: str) -> str:
    """One tag with ids of its own, the page's colours and typeface, and no address in it."""
    # HTML knows the namespaces without being told.
    tag = _NAMESPACE.sub("", tag).replace("xlink:href", "href")
    tag = _ID.sub(rf'\1"\2{name}-', tag).replace("url(#", f"url(#{name}-")
    tag = _FAMILY.sub("", _FONT.sub(_page_font, tag))
    for variable, stand_in in COLOURS.items():
        tag = tag.replace(stand_in, f"var(--{variable})")
    return tag


def _page_font(match: re.Match[str]) -> str:
    """Keep weight and size of a `font: ...` shorthand, leave the family to the page."""
    weight, size = match.groups()
    return (f"font-weight: {weight}; " if weight else "") + f"font-size: {size}px"


def short(name: str, most: int = _LONGEST_NAME) -> str:
    """A name that leaves room for the bars: its ends tell layers apart, so its middle goes."""
    name = printable(name)
    if len(name) <= most:
        return name
    half = (most - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def telling(names: Sequence[str]) -> list[str]:
    """Names without the beginning and the end that all of them share: what tells them apart.

    Cut only at a dot, slash or underscore, and never to nothing.
    """
    if len(names) < 2:
        return list(names)
    start = _boundary(names)
    end = _boundary([name[::-1] for name in names])
    cut = [name[start : len(name) - end] for name in names]
    return cut if all(cut) and len(set(cut)) == len(set(names)) else list(names)


def _boundary(names: Sequence[str]) -> int:
    """How much of a shared beginning goes: up to and with its last separator."""
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    shared = "".join(letters[0] for letters in alike)
    return max(shared.rfind(separator) for separator in "./_") + 1


def standalone(svg: Markup) -> str:
    """The picture as a file of its own: with the report's colours, for light and dark."""
    from importlib.resources import files

    sheet = (files("exporter.report") / "templates" / "style.css").read_text(encoding="utf-8")
    colours = sheet[: sheet.index("* {")]
    own = "svg { background: var(--page); font-family: system-ui, sans-serif; }"
    head, _, rest = str(svg).partition(">")
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"', 1)
    return f"{head}><style>{colours}{own}</style>{rest}\n"
