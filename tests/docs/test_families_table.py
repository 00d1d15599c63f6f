"""The generated page docs/families.md is up to date."""

from __future__ import annotations

from tests.docs.families_table import PAGE, table


def test_the_families_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == table(), "run: python -m tests.docs.families_table"
