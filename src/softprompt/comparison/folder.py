"""A comparison's folder: which files of it a comparison wrote, so that only these are replaced.

report/
├── cells/          a file each fitting, and what an API answered
├── logs/           what each way's process printed
├── plots/          the report's pictures
├── report.json     everything that was found
└── report.html     the page
"""

from __future__ import annotations

from pathlib import Path

from softprompt.errors import OutputExists, disk_errors
from softprompt.saved.own_files import join_names, read_json_object

CELLS, LOGS, PLOTS, REPORT, PAGE = "cells", "logs", "plots", "report.json", "report.html"
GENERATOR = '<meta name="generator" content="softprompt '
_BEGINNING = 4096  # characters of a page in which its generator stands


def check_folder(folder: Path) -> None:
    """Whether a comparison may be written to a folder: it is new, empty, or holds one.

    Raises:
        OutputExists: it holds something else, or a file of another program's stands where the report would.
        SettingError: it cannot be read.
    """
    with disk_errors(folder):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        if not folder.is_dir() or not _is_comparison(folder):
            raise OutputExists(f"{folder} holds something that is no comparison: name another `output`")
        foreign = _find_foreign_reports(folder)
    if foreign:
        raise OutputExists(
            f"{folder}: no comparison wrote {join_names(foreign)}, so it is not overwritten: move it away, or name "
            "another `output`"
        )


def _is_comparison(folder: Path) -> bool:
    """By its cells; where none is finished, by having nothing but what a comparison makes."""
    cells = folder / CELLS
    if not _is_real_folder(cells):
        return False
    files = [path for path in cells.iterdir() if not path.name.startswith(".")]
    if files:
        return any(_is_cell(path) for path in files)
    reports = {REPORT, PAGE, PLOTS} if _is_report(folder / REPORT) else set()
    return {path.name for path in folder.iterdir()} <= {CELLS, LOGS} | reports


def _is_cell(path: Path) -> bool:
    if path.suffix == ".jsonl":  # answers of an API
        return True
    found = read_json_object(path)
    return found is not None and {"cell", "key", "found"} <= set(found)


def _find_foreign_reports(folder: Path) -> list[str]:
    """What stands in the place of a report and is none, by its name."""
    checks = {REPORT: _is_report, PAGE: _is_page, LOGS: _is_real_folder, PLOTS: _is_real_folder}
    return [name for name, is_own in checks.items() if (folder / name).exists() and not is_own(folder / name)]


def _is_report(path: Path) -> bool:
    return {"softprompt", "ways"} <= set(read_json_object(path) or ())


def _is_page(path: Path) -> bool:
    return path.is_file() and GENERATOR in path.read_text("utf-8", "replace")[:_BEGINNING]


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
