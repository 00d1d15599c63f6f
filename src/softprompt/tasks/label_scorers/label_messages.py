"""Error messages that list labels, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softprompt.comma_lists import join_list

MAX_NAMED_LABELS = 20  # labels that a message lists


def missing_labels_message(missing_labels: Sequence[str], example_labels: set[str]) -> str:
    """Return the error message for labels without examples.

    Such labels may be parts of one label that was split at its comma.
    """
    message = (
        f"no training example has the label {format_labels(missing_labels)}; labels found: "
        f"{format_labels(sorted(example_labels))}"
    )
    if any("," in label for label in example_labels):
        message += ". On the command line, quote labels that contain a comma, as shown here"
    return message


def format_labels(labels: Sequence[str], join: Callable[[list[str]], str] = join_list) -> str:
    """Format the first labels, and the number of further ones."""
    num_hidden = len(labels) - MAX_NAMED_LABELS
    return join([*labels[:MAX_NAMED_LABELS]]) + (f" and {num_hidden:,} more" if num_hidden > 0 else "")
