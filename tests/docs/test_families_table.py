"""What the page says of each family is what it does."""

from __future__ import annotations

from tests.docs.families_table import PAGE, table


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text(encoding="utf-8") == table(), "run: python -m tests.docs.families_table"
