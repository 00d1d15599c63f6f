"""Archives of artifacts: equal files give equal bytes, and only intact archives are unpacked."""

from __future__ import annotations

from io import BytesIO
from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softprompt.registry.artifact_archive import pack_files, unpack_files

FILES = {"softprompt.json": b"{}", "prompt.safetensors": b"numbers" * 100}
names = st.text(st.characters(exclude_characters="/\\\0", exclude_categories=("Cs",)), min_size=1, max_size=20)


@given(files=st.dictionaries(names, st.binary(max_size=100), max_size=4))
def test_unpacked_files_equal_the_packed_ones(files: dict[str, bytes]) -> None:
    assert unpack_files(pack_files(files)) == files
    assert pack_files(dict(reversed(files.items()))) == pack_files(files)


def test_truncated_or_changed_archives_are_rejected() -> None:
    packed = pack_files(FILES)
    for end in range(0, len(packed), 7):
        assert unpack_files(packed[:end]) == {}
    for i in range(0, len(packed), 5):
        changed = bytearray(packed)
        changed[i] ^= 0x55
        assert unpack_files(bytes(changed)) != {**FILES, "prompt.safetensors": b""}
    place = packed.index(b"numbersnumbers")
    assert unpack_files(packed[:place] + b"N" + packed[place + 1 :]) == {}


@given(junk=st.binary(max_size=300), place=st.integers(0, 300))
def test_unpacking_an_overwritten_archive_never_gives_more_bytes_than_the_archive(junk: bytes, place: int) -> None:
    packed = pack_files({"a": b"1" * 200})
    mixed = packed[:place] + junk + packed[place + len(junk) :]
    assert sum(map(len, unpack_files(mixed).values())) <= len(mixed)


def test_a_zip_bomb_is_not_unpacked() -> None:
    bomb = BytesIO()
    with ZipFile(bomb, "w", ZIP_DEFLATED) as archive:
        archive.writestr("a", b"\0" * 10_000_000)
    assert len(bomb.getvalue()) < 20_000
    assert unpack_files(bomb.getvalue()) == {}


def written(method: int) -> bytes:
    """The same files as another program would pack them."""
    archive = BytesIO()
    with ZipFile(archive, "w", method) as opened:
        for name, content in FILES.items():
            opened.writestr(name, content)
    return archive.getvalue()


@pytest.mark.parametrize("method", [ZIP_DEFLATED, ZIP_BZIP2, ZIP_LZMA])
def test_compressed_archives_are_rejected_whether_intact_or_corrupt(method: int) -> None:
    packed = written(method)
    assert unpack_files(packed) == {}
    for i in range(0, len(packed), 3):
        changed = bytearray(packed)
        changed[i] ^= 0xFF
        assert unpack_files(bytes(changed)) == {}
        assert unpack_files(packed[:i]) == {}


HEADER, DIRECTORY = b"PK\x03\x04", b"PK\x01\x02"


@pytest.mark.parametrize(
    ("where", "place", "value"),
    [
        ("both", 0, b"\x01\0"),  # encrypted
        ("both", 0, b"\x41\0"),
        ("both", 2, b"\x08\0"),  # said to be deflated, bzip2, LZMA, of a method that nobody knows
        ("both", 2, b"\x0c\0"),
        ("both", 2, b"\x0e\0"),
        ("both", 2, b"\x63\0"),
        ("directory", 10, b"\0\0\0\0"),  # another checksum
        ("directory", 14, b"\xff\xff\xff\xff"),  # huge, packed and unpacked
        ("directory", 18, b"\xff\xff\xff\xff"),
        ("directory", 18, b"\0\0\0\0"),
        ("directory", 22, b"\xff\xff"),  # a name that goes on past the end
        ("header", 20, b"\xff\xff"),
    ],
)
def test_an_archive_with_header_fields_that_pack_files_never_writes_is_rejected(
    where: str, place: int, value: bytes
) -> None:
    packed = pack_files(FILES)
    for kind, mark, begin in (("header", HEADER, 6), ("directory", DIRECTORY, 8)):
        if where in (kind, "both"):
            at = packed.index(mark) + begin + place
            packed = packed[:at] + value + packed[at + len(value) :]
    assert unpack_files(packed) == {}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_archive_with_two_files_of_one_name_is_rejected() -> None:
    archive = BytesIO()
    with ZipFile(archive, "w") as opened:
        for content in (b"one", b"two"):
            opened.writestr("a", content)
    assert unpack_files(archive.getvalue()) == {}
