"""Contents of the prefix cache, and which requests match them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from softprompt.engine.prefix_cache import BLOCK_SIZE, PrefixCache

SALT = ("acme", "hash")


def build_cache(*texts: tuple[tuple[str, str], list[int]], max_blocks: int = 100) -> PrefixCache[tuple[int, ...]]:
    """Build a cache whose states are the tokens themselves."""
    cache: PrefixCache[tuple[int, ...]] = PrefixCache(max_blocks)
    for salt, token_ids in texts:
        cache.insert_blocks(salt, token_ids, lambda start, stop, token_ids=token_ids: tuple(token_ids[start:stop]))  # type: ignore[misc]
    return cache


texts = st.lists(st.integers(0, 1), min_size=1, max_size=5 * BLOCK_SIZE)


@given(cached_texts=st.lists(texts, max_size=4), query=texts, max_blocks=st.integers(0, 12))
def test_matched_blocks_are_a_prefix_of_the_query(
    cached_texts: list[list[int]], query: list[int], max_blocks: int
) -> None:
    cache = build_cache(*((SALT, token_ids) for token_ids in cached_texts), max_blocks=max_blocks)
    matches = cache.match_prefix(SALT, query)
    matched_ids = [token for state in matches for token in state]
    assert matched_ids == query[: len(matched_ids)]
    assert len(matched_ids) < len(query)  # the last token must be computed to give logits
    assert len(cache) <= max_blocks


@given(token_ids=texts)
def test_all_whole_blocks_of_a_text_match(token_ids: list[int]) -> None:
    matches = build_cache((SALT, token_ids)).match_prefix(SALT, [*token_ids, 7])
    assert len(matches) == len(token_ids) // BLOCK_SIZE


def test_another_tenant_or_prompt_never_matches() -> None:
    token_ids = list(range(3 * BLOCK_SIZE))
    cache = build_cache((SALT, token_ids))
    for salt in (("other", "hash"), ("acme", "other"), ("acmeh", "ash"), ("", "")):
        assert cache.match_prefix(salt, token_ids) == []
    assert (cache.hits, cache.misses) == (0, 8)


def test_least_recently_used_blocks_are_evicted_last_block_first() -> None:
    least_recent, most_recent = list(range(2 * BLOCK_SIZE)), list(range(100, 100 + 3 * BLOCK_SIZE))
    cache = build_cache((SALT, least_recent), (SALT, most_recent), max_blocks=4)
    assert len(cache.match_prefix(SALT, [*least_recent, 7])) == 1
    assert len(cache.match_prefix(SALT, [*most_recent, 7])) == 3


def test_the_beginning_of_a_too_long_text_is_cached() -> None:
    token_ids = list(range(5 * BLOCK_SIZE))
    assert len(build_cache((SALT, token_ids), max_blocks=2).match_prefix(SALT, token_ids)) == 2
