"""Detected encodings are read in every kind of text file; for guessed encodings the error names a remedy."""

from __future__ import annotations

import codecs
import json

import pytest

from softprompt.data import read_examples
from softprompt.errors import DataError
from tests.data.conftest import Write

TEXTS = ["很好看 😀", "dull, really", "Größe – née “Ω”"]
FILES = {
    "a.jsonl": "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in TEXTS),
    "a.json": json.dumps([{"text": text} for text in TEXTS], ensure_ascii=False, indent=1),
    "a.csv": "text,n\n" + "".join(f'"{text}",1\n' for text in TEXTS),
    "a.tsv": "text\tn\r\n" + "".join(f"{text}\t1\r\n" for text in TEXTS),
}
CERTAIN = {
    "utf-8": b"",
    "utf-8-sig": b"",
    "utf-16": b"",  # Python writes the byte-order mark
    "utf-16-le": b"",
    "utf-16-be": b"",
    "utf-16-be with its mark": codecs.BOM_UTF16_BE,
    "utf-32": b"",
}


@pytest.mark.parametrize("encoding", CERTAIN)
@pytest.mark.parametrize("name", FILES)
def test_encoding_is_detected_from_the_first_bytes(write: Write, name: str, encoding: str) -> None:
    path = write(name, CERTAIN[encoding] + FILES[name].encode(encoding.split()[0]))
    examples = read_examples(path)
    assert [example.get_text("text") for example in examples] == TEXTS
    assert examples[2].get_text("text") == TEXTS[2]
    assert examples[1].location == (f"{path}, row 2" if name == "a.json" else f"{path}:{2 if name == 'a.jsonl' else 3}")


@pytest.mark.parametrize("name", FILES)
def test_truncated_utf_16_is_rejected(write: Write, name: str) -> None:
    with pytest.raises(DataError, match=rf"{name}: not valid UTF-16-LE.*: save the file as UTF-8"):
        read_examples(write(name, FILES[name].encode("utf-16-le") + b"\x3d\xd8"))


WESTERN = ["Größe", "café olé", "“née” – déjà", "naïveté", "50 €", "Señor Muñoz, ¿qué?"]
CHINESE = ["很好", "这件衣服很好看，值得买。", "AI技术", "《红楼梦》"]


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv"])
@pytest.mark.parametrize(
    ("texts", "encoding", "said"), [(WESTERN, "cp1252", "WINDOWS-1252"), (CHINESE, "gb18030", "GB18030")]
)
def test_error_for_invalid_utf_8_names_the_likely_encoding(
    write: Write, ending: str, texts: list[str], encoding: str, said: str
) -> None:
    for text in texts:
        rows = {"jsonl": f'{{"text": "{text}"}}', "json": f'[{{"text": "{text}"}}]', "csv": f'text,n\n"{text}",1\n'}
        with pytest.raises(DataError, match=rf"not valid UTF-8 at byte \d+: .* \(probably {said}: iconv -f {said}"):
            read_examples(write(f"a.{ending}", rows[ending].encode(encoding)))


def test_error_for_invalid_utf_8_names_no_unlikely_encoding(write: Write) -> None:
    with pytest.raises(DataError, match=r"not valid UTF-8 at byte \d+: save the file as UTF-8$"):
        read_examples(write("a.jsonl", '{"text": "Всё понравилось"}'.encode("cp1251")))
