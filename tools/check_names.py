"""Check the names and texts of the project against tools/naming.toml; `make check` runs it.

    python tools/check_names.py [FOLDER]

It reports words that another word replaces, classes, functions and files that are named by a bare participle, private
classes of one word, classes that are defined twice, and files of the same name. It parses code without importing it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal, get_args

ROOT = Path(__file__).parents[1]
RULES_FILE = "tools/naming.toml"
TEXT_FILES = ("*.py", "*.md", "*.toml", "*.yaml", "*.yml", "*.js", "*.css", "*Makefile", "*Dockerfile")
UNCHECKED_FILES = (RULES_FILE, "tests/tools/*", "tests/old_data/*")  # these quote banned words
NOUNS = {"embed", "feed", "need", "seed", "speed", "string", "ring", "ping", "thing"}  # in -ed and -ing, or verbs

Scope = Literal["names", "tests", "text"]
SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True)
class NamingIssue:
    """A name or text that breaks a rule."""

    path: str
    line: int
    rule: str
    name: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.name!r}: {self.advice}"


@dataclass(frozen=True)
class NamingException:
    """A name that may break a rule. `path` is a glob."""

    rule: str
    name: str
    reason: str
    path: str = "*"

    def matches(self, issue: NamingIssue) -> bool:
        """Return True if this is the exception for the issue."""
        return (self.rule, self.name) == (issue.rule, issue.name) and fnmatch(issue.path, self.path)


class NamingRules:
    """The content of naming.toml."""

    def __init__(self, table: dict[str, Any]) -> None:
        """Build the rules from parsed TOML.

        Raises:
            ValueError: A rule lacks a field or has an unknown one, or an exception has no reason.
        """
        try:
            self.exceptions = [NamingException(**entry) for entry in table.get("allowed", ())]
            self._advice = [f"use {word['use']}" for word in table.get("words", ())]
            self._patterns = {scope: _join_patterns(table.get("words", ()), scope) for scope in SCOPES}
        except (KeyError, TypeError) as error:
            raise ValueError(f"{RULES_FILE}: {error}") from error
        for exception in self.exceptions:
            if not exception.reason.strip():
                raise ValueError(f"{RULES_FILE}: the exception {exception.name!r} has no reason")

    def find_words(self, scope: Scope, text: str) -> Iterator[tuple[str, int, str]]:
        """Yield each banned word of a text in lower case, the position of the word, and what to use instead."""
        for match in self._patterns[scope].finditer(text):
            yield match[0].lower(), match.start(), self._advice[int((match.lastgroup or "")[1:])]


@dataclass(frozen=True)
class Definition:
    """A name that Python code defines."""

    kind: Literal["class", "function", "variable"]
    name: str
    line: int

    @property
    def words(self) -> str:
        """The words of the name, in lower case: `parsed row` for `_ParsedRow` and for `parsed_row`."""
        return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", self.name)).lower()


def list_definitions(code: str) -> Iterator[Definition]:
    """Yield the classes, functions, parameters and variables that the code defines."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.ClassDef():
                yield Definition("class", node.name, node.lineno)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield Definition("function", node.name, node.lineno)
            case ast.arg():
                yield Definition("variable", node.arg, node.lineno)
            case ast.Name(ctx=ast.Store()):
                yield Definition("variable", node.id, node.lineno)
            case ast.Attribute(ctx=ast.Store()):
                yield Definition("variable", node.attr, node.lineno)


def check_text(path: str, text: str, rules: NamingRules) -> Iterator[NamingIssue]:
    """Check the lines of a file. Code blocks of Markdown are left out, because they contain sample data."""
    if path.endswith(".md"):
        text = re.sub(
            r"^ *```.*?^ *```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE
        )
    for word, position, advice in rules.find_words("text", text):
        yield NamingIssue(path, text.count("\n", 0, position) + 1, "word", word, advice)


def check_definitions(path: str, definitions: Iterable[Definition], rules: NamingRules) -> Iterator[NamingIssue]:
    """Check the names that a file of code defines."""
    for definition in definitions:
        for word, _, advice in rules.find_words("names", definition.words):
            yield NamingIssue(path, definition.line, "word", word, f"{advice} in {definition.name}")
        if definition.kind != "variable" and _is_participle(definition.words):
            advice = "a class is a noun phrase, a function a verb phrase"
            yield NamingIssue(path, definition.line, "participle", definition.name, advice)
        if definition.kind == "class" and definition.name.startswith("_") and " " not in definition.words:
            yield NamingIssue(path, definition.line, "one-word class", definition.name, "say of what: _CacheEntry")


def check_test_names(path: str, definitions: Iterable[Definition], rules: NamingRules) -> Iterator[NamingIssue]:
    """Check the names of the test functions of a file."""
    for definition in definitions:
        if definition.kind == "function" and definition.name.startswith("test_"):
            for word, _, advice in rules.find_words("tests", definition.words):
                yield NamingIssue(path, definition.line, "word", word, f"{advice} in {definition.name}")


def check_uniqueness(package: dict[str, list[Definition]]) -> Iterator[NamingIssue]:
    """Check that the package defines each class once, and names its files by nouns, each by another."""
    classes: dict[str, str] = {}
    files: dict[str, str] = {}
    for path, definitions in package.items():
        if _is_participle(Path(path).stem):
            yield NamingIssue(path, 1, "participle", Path(path).name, "a file is named by what it contains")
        if (name := Path(path).name) not in ("__init__.py", "__main__.py") and files.setdefault(name, path) != path:
            yield NamingIssue(path, 1, "file name", name, f"also {files[name]}")
        for definition in definitions:
            if definition.kind == "class" and classes.setdefault(definition.name, path) != path:
                advice = f"also in {classes[definition.name]}"
                yield NamingIssue(path, definition.line, "class defined twice", definition.name, advice)


def check_files(root: Path, paths: Iterable[str], rules: NamingRules) -> list[NamingIssue]:
    """Check files of a project, given by their paths below its root.

    Returns:
        What breaks a rule and is no exception, and the exceptions without a use.
    """
    issues: list[NamingIssue] = []
    package: dict[str, list[Definition]] = {}
    for path in paths:
        text = (root / path).read_text("utf-8")
        definitions = list(list_definitions(text)) if path.endswith(".py") else []
        if path.startswith("tests"):
            issues += check_test_names(path, definitions, rules)
        else:
            issues += check_text(path, text, rules)
            issues += check_definitions(path, definitions, rules)
        if path.startswith("src/"):
            package[path] = definitions
    return _drop_exceptions([*issues, *check_uniqueness(package)], rules.exceptions)


def list_files(root: Path) -> list[str]:
    """List the text files of a project: those that git knows, and new ones that it does not ignore."""
    command = [
        "git",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
        "--deduplicate",
        "--",
        *TEXT_FILES,
    ]
    names = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    return [name for name in names if name and not _is_unchecked(name) and (root / name).is_file()]


def main() -> int:
    """Check the project, or the one in the given folder, and return the exit code."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT
    rules = NamingRules(tomllib.loads((root / RULES_FILE).read_text("utf-8")))
    issues = check_files(root, list_files(root), rules)
    for issue in issues:
        print(issue)
    if issues:
        print(f"{len(issues)} names or texts: use the advised word, or add an exception and its reason to {RULES_FILE}")
    return bool(issues)


def _join_patterns(words: Iterable[dict[str, Any]], scope: Scope) -> re.Pattern[str]:
    """Compile one pattern for all words of a scope. The group `wN` matches word N; an underscore separates words."""
    parts = [f"(?P<w{i}>{word['pattern']})" for i, word in enumerate(words) if scope in word["in"]]
    return re.compile(rf"(?<![A-Za-z])(?:{'|'.join(parts) or '(?!)'})(?![A-Za-z])", re.IGNORECASE)


def _is_unchecked(path: str) -> bool:
    return any(fnmatch(path, pattern) for pattern in UNCHECKED_FILES)


def _is_participle(words: str) -> bool:
    return not re.search("[ _]", words) and words.endswith(("ed", "ing")) and words not in NOUNS


def _drop_exceptions(issues: Iterable[NamingIssue], exceptions: Iterable[NamingException]) -> list[NamingIssue]:
    uses: Counter[NamingException] = Counter()
    remaining = []
    for issue in issues:
        matching = [exception for exception in exceptions if exception.matches(issue)]
        uses.update(matching)
        if not matching:
            remaining.append(issue)
    unused = [exception for exception in exceptions if not uses[exception]]
    return remaining + [NamingIssue(RULES_FILE, 1, "unused exception", each.name, "delete it") for each in unused]


if __name__ == "__main__":
    sys.exit(main())
