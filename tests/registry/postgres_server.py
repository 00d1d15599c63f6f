"""A real PostgreSQL, from Debian's packages: made in a folder of its own, started, stopped and thrown away."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import psycopg

from tests.ports import free_port

USER, PASSWORD = "softprompt", "s3cret/@:"
NOBODY = 65534  # whose processes PostgreSQL's are where the tests are root's, as which it refuses to run
QUICK = {  # nothing has to outlive a power failure here
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "8MB",
    "max_connections": "60",
    "listen_addresses": "127.0.0.1",
}


class Postgres:
    """A server that runs. Over its socket everybody may come in; over TCP they need a password."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._who: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(self.folder, NOBODY, NOBODY)
            self._who = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self.folder.chmod(0o755)
        self.port = free_port()
        self._make()
        self.start()

    def start(self) -> None:
        settings = [f"--{name}={value}" for name, value in QUICK.items()]
        place = [f"--port={self.port}", f"--unix_socket_directories={self.folder}"]
        command = [_program("postgres"), "-D", str(self.folder / "data"), *settings, *place]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log, **self._who)
        while True:
            try:
                psycopg.connect(self.url()).close()
                break
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                time.sleep(0.02)

    def stop(self) -> None:
        """As `pg_ctl stop --mode=fast` does: whoever is connected loses the connection."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def url(self, database: str = "postgres", **query: str) -> str:
        """Over the socket, as whoever asks."""
        query = {"host": str(self.folder), "port": str(self.port), **query}
        return f"postgresql://{USER}@/{database}?" + "&".join(f"{k}={quote(v, safe='')}" for k, v in query.items())

    def tcp(self, password: str = PASSWORD, database: str = "postgres") -> str:
        """Over TCP, with a password."""
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def schema(self) -> str:
        """The URL of one that is empty."""
        name = f"s{uuid4().hex}"
        self.execute(f"CREATE SCHEMA {name}")
        return self.url(options=f"-csearch_path={name}")

    def execute(self, statement: str, url: str | None = None) -> list[tuple[Any, ...]]:
        with psycopg.connect(url or self.url(), autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder)

    def _make(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        options = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password}", f"--username={USER}"]
        text = ["--locale=C", "--encoding=UTF8", "--no-sync", "--no-instructions"]
        command = [_program("initdb"), "-D", str(self.folder / "data"), *options, *text]
        made = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **self._who)
        assert made.returncode == 0, made.stderr


def _program(name: str) -> str:
    """The newest that Debian has installed, or whatever the user has."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    found = str(versions[-1]) if versions else shutil.which(name)
    assert found, "the tests need PostgreSQL: make postgres"
    return found
