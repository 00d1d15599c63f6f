"""The Dockerfiles pass hadolint, copy files that exist, and install what is tested."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy.manifest_reader import DEPLOY, ROOT

FILES = sorted(DEPLOY.glob("*.Dockerfile"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_hadolint_accepts_the_dockerfile(file: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([str(hadolint), str(file)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_files_copied_by_a_dockerfile_exist_and_are_not_ignored(file: Path) -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = [
        name for line in re.findall(r"^COPY (.*) \S+$", file.read_text("utf-8"), re.MULTILINE) for name in line.split()
    ]
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert name in kept


def test_the_gateway_image_installs_the_extras_it_needs() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    [asked] = re.findall(r"'\.\[([\w,]+)\]'", (DEPLOY / "gateway.Dockerfile").read_text("utf-8"))
    assert {"serve", "postgres", "s3"} == set(asked.split(",")) <= set(known)


def test_the_replica_image_installs_the_packages_that_the_plugin_is_tested_with() -> None:
    [needs] = re.findall(r"^PLUGIN_NEEDS := (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    [installed] = re.findall(
        r"constraints-vllm.txt ([\w ]+?) \\$", (DEPLOY / "replica.Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    assert set(needs.split()) <= set(installed.split())


def test_the_replica_image_has_the_vllm_version_that_is_tested() -> None:
    [image] = re.findall(
        r"^FROM vllm/vllm-openai:v(\S+)$", (DEPLOY / "replica.Dockerfile").read_text("utf-8"), re.MULTILINE
    )
    pins = (ROOT / "constraints-vllm.txt").read_text("utf-8")
    assert re.findall(r"^vllm[_-]cpu==([\d.]+)", pins, re.MULTILINE) == [image]
