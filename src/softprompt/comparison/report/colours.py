"""The report's colours, light and dark: the same names in both, and one colour a way throughout.

The ways' colours stay apart for colour-blind readers, which is why they differ in lightness too, and stand out from
their paper by 3 to 1 or more. The plots are drawn in the light ones; in the page they follow the reader's theme.
"""

from __future__ import annotations

LIGHT: dict[str, str] = {
    "paper": "#fbfaf7",
    "panel": "#f1efe9",
    "ink": "#1d1d1b",
    "muted": "#605e58",
    "rule": "#dad7cf",
    "good": "#00609c",
    "bad": "#b34700",
    "way-0": "#858073",
    "way-1": "#0067a5",
    "way-2": "#c8500a",
    "way-3": "#489e34",
    "way-4": "#611936",
    "way-5": "#897cef",
    "way-6": "#b279aa",
    "way-7": "#93523c",
    "way-8": "#273b00",
    "way-9": "#4b1f6a",
}

DARK: dict[str, str] = {
    "paper": "#17191c",
    "panel": "#212429",
    "ink": "#eceae4",
    "muted": "#a9a7a1",
    "rule": "#3a3d42",
    "good": "#7cc4f8",
    "bad": "#ffa06b",
    "way-0": "#9698a6",
    "way-1": "#5ab4f0",
    "way-2": "#ff9457",
    "way-3": "#66a814",
    "way-4": "#e54886",
    "way-5": "#8f85f5",
    "way-6": "#fcb0d8",
    "way-7": "#ede1d4",
    "way-8": "#b4f39d",
    "way-9": "#b866b0",
}

WAYS = [role for role in LIGHT if role.startswith("way-")]

#: Beside the colour: marks for those who do not see it, and for an eleventh way that must share one, each with the sign
#: that stands for it in words. Their number shares no factor with the colours', so both together tell 110 ways apart.
SIGNS = dict(zip(("o", "s", "D", "^", "v", "P", "X", "p", "h", "<", ">"), "●■◆▲▼✚✖⬟⬢◀▶", strict=True))
MARKS = list(SIGNS)


def role_of(place: int) -> str:
    """The colour's name of the way at a place in the user's order."""
    return WAYS[place % len(WAYS)]


def mark_of(place: int) -> str:
    """The mark of the way at a place."""
    return MARKS[place % len(MARKS)]


def sign_of(place: int) -> str:
    """The mark of the way at a place, as a character."""
    return SIGNS[mark_of(place)]
