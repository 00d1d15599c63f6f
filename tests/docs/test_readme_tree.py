"""The tree in the README lists every module of the package, and only pages and folders that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
TREE = README[README.index("```text\nsrc/softprompt/") :].split("```")[1]


def test_the_readme_tree_lists_every_module_of_the_package() -> None:
    modules = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "src" / "softprompt").iterdir()
        if not path.name.startswith("__") and (path.is_dir() or path.suffix == ".py")
    }
    assert set(re.findall(r"^[├└]── (\S+)", TREE, re.MULTILINE)) == modules


def test_pages_and_folders_in_the_readme_tree_exist() -> None:
    pages = re.findall(r"\bdocs/\S+\.md", TREE)
    folders = re.findall(r"^(\w+/)", TREE, re.MULTILINE)
    assert len(pages) > 10
    for name in (*pages, *folders):
        assert (ROOT / name).exists(), name
