"""The report's light and dark color palettes: both have the same roles, and each method has one color throughout.

The methods' colors remain distinct for color-blind readers, which is why they differ in lightness too. Their contrast
with the background is 3 to 1 or more. Plots are drawn in the light palette; in the page they follow the reader's theme.
"""

from __future__ import annotations

LIGHT_PALETTE: dict[str, str] = {
    "paper": "#fbfaf7",
    "panel": "#f1efe9",
    "ink": "#1d1d1b",
    "muted": "#605e58",
    "rule": "#dad7cf",
    "good": "#00609c",
    "bad": "#b34700",
    "method-0": "#858073",
    "method-1": "#0067a5",
    "method-2": "#c8500a",
    "method-3": "#489e34",
    "method-4": "#611936",
    "method-5": "#897cef",
    "method-6": "#b279aa",
    "method-7": "#93523c",
    "method-8": "#273b00",
    "method-9": "#4b1f6a",
}

DARK_PALETTE: dict[str, str] = {
    "paper": "#17191c",
    "panel": "#212429",
    "ink": "#eceae4",
    "muted": "#a9a7a1",
    "rule": "#3a3d42",
    "good": "#7cc4f8",
    "bad": "#ffa06b",
    "method-0": "#9698a6",
    "method-1": "#5ab4f0",
    "method-2": "#ff9457",
    "method-3": "#66a814",
    "method-4": "#e54886",
    "method-5": "#8f85f5",
    "method-6": "#fcb0d8",
    "method-7": "#ede1d4",
    "method-8": "#b4f39d",
    "method-9": "#b866b0",
}

METHOD_ROLES = [role for role in LIGHT_PALETTE if role.startswith("method-")]

#: Markers, which distinguish methods together with the color. Every marker has a character for texts. The number of
#: markers (11) shares no factor with the number of colors (10), so 110 methods have different pairs of both.
MARKER_SYMBOLS = dict(zip(("o", "s", "D", "^", "v", "P", "X", "p", "h", "<", ">"), "●■◆▲▼✚✖⬟⬢◀▶", strict=True))
MARKERS = list(MARKER_SYMBOLS)


def get_color_role(index: int) -> str:
    """Return the color role of the method at `index` in the user's order."""
    return METHOD_ROLES[index % len(METHOD_ROLES)]


def get_marker(index: int) -> str:
    """Return the matplotlib marker of the method at `index`."""
    return MARKERS[index % len(MARKERS)]


def get_marker_symbol(index: int) -> str:
    """Return the marker of the method at `index` as a character."""
    return MARKER_SYMBOLS[get_marker(index)]
