"""The table of a comparison's events has the events of the code and their fields."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from softprompt.comparison.runs.run_events import EVENT_CLASSES

PAGE = (Path(__file__).parents[2] / "docs" / "comparison.md").read_text("utf-8")


def test_the_events_table_lists_the_events_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+Event)` \| `(\w+)` \| [^|]* \| (.*) \|$", PAGE, re.MULTILINE)
    table = {name: (event, re.findall(r"`(\w+)`", fields)) for event, name, fields in rows}
    assert table == {
        name: (event.__name__, [field.name for field in dataclasses.fields(event)])
        for name, event in EVENT_CLASSES.items()
    }
