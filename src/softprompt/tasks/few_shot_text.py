"""Few-shot text: as many examples with answers as fit in a number of tokens, for virtual tokens to start from."""

from __future__ import annotations

from collections.abc import Sequence

from softprompt.model import FrozenModel

#: With more space, the initializer has more examples, not longer ones: benchmarks/results/tuning_log.md
TOKENS_PER_SHOT = 50


def fit_few_shot_text(
    model: FrozenModel, candidates_by_label: Sequence[Sequence[tuple[str, int]]], max_length: int
) -> str | None:
    """Return a text of equally many examples of each label, in at most `max_length` tokens; None if one is too many.

    Args:
        model: model that tokenizes the text.
        candidates_by_label: texts and their lengths in tokens, for each label, the longest first.
        max_length: largest number of tokens.
    """
    num_labels = len(candidates_by_label)
    for num_shots in range(max(1, max_length // (num_labels * TOKENS_PER_SHOT)), 0, -1):
        tokens_per_example = max_length // (num_labels * num_shots)
        for max_tokens in (tokens_per_example, tokens_per_example - 1):  # joined texts may have more tokens than apart
            text = _join_shots(candidates_by_label, num_shots, max_tokens)
            if text is not None and len(model.prompt_tokenizer.tokenize(text)) <= max_length:
                return text
    return None


def _join_shots(
    candidates_by_label: Sequence[Sequence[tuple[str, int]]], num_shots: int, max_tokens: int
) -> str | None:
    """Join `num_shots` texts of each label, one label after the other; None if a label has fewer short texts."""
    texts_by_label = [
        [text for text, length in candidates if length <= max_tokens][:num_shots] for candidates in candidates_by_label
    ]
    if any(len(texts) < num_shots for texts in texts_by_label):
        return None
    return "".join(text for round_texts in zip(*texts_by_label, strict=True) for text in round_texts)
