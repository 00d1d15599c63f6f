"""The output folder of a comparison, and the check that a comparison overwrites only its own files.

report/
├── answers/        replies of an API, which are not paid for twice
├── cells/          a JSON file for each finished run
├── logs/           output of each method's process
├── plots/          plots of the report
├── teacher/        answers of the model behind the text, which distillation learns
├── report.json     all results
└── report.html     the page
"""

from __future__ import annotations

from pathlib import Path

from softprompt.errors import OutputExists, translate_os_errors
from softprompt.saved.foreign_files import join_names, read_json_object

RUNS_FOLDER, REPLIES_FOLDER, LOGS_FOLDER, PLOTS_FOLDER = "cells", "answers", "logs", "plots"
TARGETS_FOLDER = "teacher"
REPORT_FILE, PAGE_FILE = "report.json", "report.html"
GENERATOR_TAG = '<meta name="generator" content="softprompt '
_HEAD_CHARS = 4096  # leading characters of a page that contain its generator tag


def check_output_folder(folder: Path) -> None:
    """Check that a comparison may be written to a folder: the folder is new, empty, or contains a comparison.

    Raises:
        OutputExists: the folder contains something else, or a foreign file has the name of a report file.
        SettingError: the folder cannot be read.
    """
    with translate_os_errors(folder):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
        if not folder.is_dir() or not _is_comparison(folder):
            raise OutputExists(f"{folder} contains something other than a comparison: choose another `output`")
        foreign = _find_foreign_reports(folder)
    if foreign:
        raise OutputExists(
            f"{folder}: {join_names(foreign)} was not written by a comparison and is not overwritten: "
            "move it away, or choose another `output`"
        )


def _is_comparison(folder: Path) -> bool:
    """Recognize a comparison by its runs; without finished runs, by containing nothing but a comparison's files."""
    runs = folder / RUNS_FOLDER
    if not _is_real_folder(runs):
        return False
    files = [path for path in runs.iterdir() if not path.name.startswith(".")]
    if files:
        return any(_is_run_file(path) for path in files)
    reports = {REPORT_FILE, PAGE_FILE, PLOTS_FOLDER} if _is_report(folder / REPORT_FILE) else set()
    folders = {RUNS_FOLDER, REPLIES_FOLDER, LOGS_FOLDER, TARGETS_FOLDER}
    return {path.name for path in folder.iterdir()} <= folders | reports


def _is_run_file(path: Path) -> bool:
    if path.suffix == ".jsonl":  # replies of an API, which early versions kept here
        return True
    content = read_json_object(path)
    return content is not None and {"cell", "key", "found"} <= set(content)


def _find_foreign_reports(folder: Path) -> list[str]:
    """Return the names of files and folders in the place of a report that are not a comparison's."""
    checks = {REPORT_FILE: _is_report, PAGE_FILE: _is_page, LOGS_FOLDER: _is_real_folder, PLOTS_FOLDER: _is_real_folder}
    return [name for name, is_own in checks.items() if (folder / name).exists() and not is_own(folder / name)]


def _is_report(path: Path) -> bool:
    keys = set(read_json_object(path) or ())
    return {"softprompt_version", "methods"} <= keys or {"softprompt", "ways"} <= keys  # version 1


def _is_page(path: Path) -> bool:
    return path.is_file() and GENERATOR_TAG in path.read_text("utf-8", "replace")[:_HEAD_CHARS]


def _is_real_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()
