"""A folder as one object: the same files give the same bytes, and only whole ones give files."""

from __future__ import annotations

from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile

from hypothesis import given
from hypothesis import strategies as st

from softprompt.store.packing import pack, unpack

FILES = {"softprompt.json": b"{}", "prompt.safetensors": b"numbers" * 100}
names = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(files=st.dictionaries(names, st.binary(max_size=100), max_size=4))
def test_what_is_packed_comes_out(files: dict[str, bytes]) -> None:
    assert unpack(pack(files)) == files
    assert pack(dict(reversed(files.items()))) == pack(files)


def test_what_is_cut_or_changed_gives_no_files() -> None:
    packed = pack(FILES)
    for end in range(0, len(packed), 7):
        assert unpack(packed[:end]) == {}
    for i in range(0, len(packed), 5):
        changed = bytearray(packed)
        changed[i] ^= 0x55
        assert unpack(bytes(changed)) != {**FILES, "prompt.safetensors": b""}
    place = packed.index(b"numbersnumbers")
    assert unpack(packed[:place] + b"N" + packed[place + 1 :]) == {}


@given(junk=st.binary(max_size=300), place=st.integers(0, 300))
def test_junk_gives_no_files_or_small_ones(junk: bytes, place: int) -> None:
    packed = pack({"a": b"1" * 200})
    mixed = packed[:place] + junk + packed[place + len(junk) :]
    assert sum(map(len, unpack(mixed).values())) <= len(mixed)


def test_a_bomb_stays_packed() -> None:
    bomb = BytesIO()
    with ZipFile(bomb, "w", ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 10_000_000)
    assert len(bomb.getvalue()) < 20_000
    assert unpack(bomb.getvalue()) == {}
