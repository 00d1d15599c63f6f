"""The check of names and texts: each of its rules finds what it is for, and the project passes it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tools.check_names import RULES_FILE, NamingRules, check_files, list_files

ROOT = Path(__file__).parents[2]
RULES = {
    "words": [
        {"pattern": "ways?", "use": "method", "in": ["names"]},
        {"pattern": "whoever", "use": "the client", "in": ["text", "tests"]},
    ]
}


def check(folder: Path, files: dict[str, str], allowed: list[dict[str, str]] | None = None) -> list[tuple[str, str]]:
    """Check files with these contents; return rule and name of each issue."""
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content, "utf-8")
    rules = NamingRules({**RULES, "allowed": allowed or []})
    return [(issue.rule, issue.name) for issue in check_files(folder, files, rules)]


@pytest.mark.parametrize(
    "code",
    [
        "class FairWay: ...",
        "class _WayError(Exception): ...",
        "def find_ways(): ...",
        "def find(way): ...",
        "ways = 1",
        "self.way_of = 1",
        "for i, way in enumerate(x): ...",
    ],
)
def test_a_banned_word_is_found_in_defined_names(tmp_path: Path, code: str) -> None:
    [(rule, word)] = check(tmp_path, {"src/a.py": code})
    assert rule == "word"
    assert word in ("way", "ways")


@pytest.mark.parametrize(
    "code", ["always = 1", "import ways", "print(x.ways, way)", '"""In two ways."""', "class Highway: ..."]
)
def test_a_banned_word_is_allowed_outside_defined_names(tmp_path: Path, code: str) -> None:
    assert check(tmp_path, {"src/a.py": code}) == []


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("src/a.py", '"""Tells whoever asks."""'),
        ("src/a.py", "x = 1  # Whoever asks"),
        ("src/a.py", 'raise ValueError(f"{x}: whoever")'),
        ("docs/a.md", "Whoever asks"),
        ("deploy/a.yaml", "# whoever asks"),
    ],
)
def test_a_banned_word_is_found_in_texts(tmp_path: Path, path: str, text: str) -> None:
    assert check(tmp_path, {path: text}) == [("word", "whoever")]


def test_code_blocks_of_pages_and_texts_of_tests_are_not_checked(tmp_path: Path) -> None:
    files = {"docs/a.md": "```text\nwhoever\n```\n", "tests/a.py": '"""whoever"""\ndef whoever(): ...\n'}
    assert check(tmp_path, files) == []


def test_an_issue_after_a_code_block_has_the_right_line(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("```text\n1\n2\n```\n\nwhoever\n", "utf-8")
    [issue] = check_files(tmp_path, ["a.md"], NamingRules(RULES))
    assert str(issue).startswith("a.md:6: word: 'whoever': use the client")


def test_a_banned_word_is_found_in_names_of_tests(tmp_path: Path) -> None:
    assert check(tmp_path, {"tests/a.py": "def test_whoever_asks(): ..."}) == [("word", "whoever")]


@pytest.mark.parametrize(
    ("code", "name"),
    [("class Loaded: ...", "Loaded"), ("class _Waiting: ...", "_Waiting"), ("def parsed(): ...", "parsed")],
)
def test_a_class_or_function_named_by_a_bare_participle_is_an_issue(tmp_path: Path, code: str, name: str) -> None:
    assert ("participle", name) in check(tmp_path, {"src/a.py": code})


def test_a_file_named_by_a_bare_participle_is_an_issue(tmp_path: Path) -> None:
    files = dict.fromkeys(("src/a/loading.py", "src/a/model_loading.py", "src/a/string.py"), "")
    assert check(tmp_path, files) == [("participle", "loading.py")]


def test_nouns_and_imperatives_in_ed_and_ing_are_accepted(tmp_path: Path) -> None:
    code = "class String: ...\ndef embed(): ...\ndef seed(): ...\nloaded = 1\nclass LoadedPrompt: ..."
    assert check(tmp_path, {"src/a.py": code}) == []


def test_a_private_class_of_one_word_is_an_issue(tmp_path: Path) -> None:
    assert check(tmp_path, {"src/a.py": "class _Entry: ...\nclass Entry: ...\nclass _CacheEntry: ..."}) == [
        ("one-word class", "_Entry")
    ]


def test_a_class_that_the_package_defines_twice_is_an_issue(tmp_path: Path) -> None:
    files = {"src/a.py": "class Chunk: ...", "src/b.py": "class Chunk: ...", "benchmarks/c.py": "class Chunk: ..."}
    assert check(tmp_path, files) == [("class defined twice", "Chunk")]


def test_two_files_of_the_package_with_the_same_name_are_an_issue(tmp_path: Path) -> None:
    files = dict.fromkeys(("src/a/x.py", "src/b/x.py", "src/a/__init__.py", "src/b/__init__.py", "benchmarks/x.py"), "")
    assert check(tmp_path, files) == [("file name", "x.py")]


def test_an_exception_applies_only_to_its_files(tmp_path: Path) -> None:
    allowed = [{"rule": "word", "name": "way", "path": "src/a.py", "reason": "a field of OpenAI's"}]
    assert check(tmp_path, {"src/a.py": "way = 1", "src/b.py": "way = 1"}, allowed) == [("word", "way")]


def test_an_unused_exception_is_an_issue(tmp_path: Path) -> None:
    allowed = [{"rule": "word", "name": "way", "reason": "a field of OpenAI's"}]
    assert check(tmp_path, {"src/a.py": ""}, allowed) == [("unused exception", "way")]


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"allowed": [{"rule": "word", "name": "way"}]}, "reason"),
        ({"allowed": [{"rule": "word", "name": "way", "reason": " "}]}, "'way' has no reason"),
        ({"allowed": [{"rule": "word", "name": "way", "reason": "x", "where": "src"}]}, "where"),
        ({"words": [{"pattern": "way", "in": ["names"]}]}, "use"),
    ],
)
def test_incomplete_rules_are_rejected(rules: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NamingRules(rules)


def test_the_project_has_no_naming_issues() -> None:
    rules = NamingRules(tomllib.loads((ROOT / RULES_FILE).read_text("utf-8")))
    assert [str(issue) for issue in check_files(ROOT, list_files(ROOT), rules)] == []


def test_the_program_exits_with_1_and_prints_the_issue(tmp_path: Path) -> None:
    for path, content in {
        RULES_FILE: '[[words]]\npattern = "way"\nuse = "method"\nin = ["names"]\n',
        "src/a.py": "way = 1\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(content)
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    program = [sys.executable, ROOT / "tools" / "check_names.py", tmp_path]
    result = subprocess.run(program, check=False, capture_output=True, text=True)
    assert result.returncode == 1
    assert "src/a.py:1: word: 'way': use method in way" in result.stdout
