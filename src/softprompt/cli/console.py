"""Where commands print for people: nothing that a tenant or a file wrote moves the cursor, or turns a line around."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from softprompt.unicode_text import escape_controls


class SafeConsole(Console):
    r"""Rich's console, which writes control and bidirectional characters of any text as escapes, `\x1b`.

    Texts are escaped before they are laid out, so that tables keep their columns, and all that is drawn once more.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """A text with markup, escaped."""
        return super().render_str(escape_controls(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is drawn, escaped; rich's own control codes stay."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_controls(segment.text))
