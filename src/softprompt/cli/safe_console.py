"""A console that escapes control characters, so that no text of a tenant or a file can control the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from softprompt.unicode_text import escape_controls


class SafeConsole(Console):
    r"""A rich console that writes control and bidirectional characters as escapes, such as `\x1b`.

    Text is escaped before layout, so that table columns stay aligned, and again when it is drawn.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text with markup, escaped."""
        return super().render_str(escape_controls(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield escaped segments. The control codes of rich itself stay unchanged."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_controls(segment.text))
