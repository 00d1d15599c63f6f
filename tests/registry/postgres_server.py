"""A real PostgreSQL server from Debian's packages, with its data in a temporary folder."""

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
NOBODY = 65534  # user of PostgreSQL's processes if the tests run as root, which PostgreSQL refuses
QUICK = {  # durability is not needed in tests
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "shared_buffers": "8MB",
    "max_connections": "60",
    "listen_addresses": "127.0.0.1",
}


class Postgres:
    """Running PostgreSQL server. TCP connections need a password, connections over its socket do not."""

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
        address = [f"--port={self.port}", f"--unix_socket_directories={self.folder}"]
        command = [_program("postgres"), "-D", str(self.folder / "data"), *settings, *address]
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
        """Stop the server as `pg_ctl stop --mode=fast` does, which closes all connections."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait()

    def url(self, database: str = "postgres", **query: str) -> str:
        """Return a URL for a connection over the socket, without a password."""
        query = {"host": str(self.folder), "port": str(self.port), **query}
        return f"postgresql://{USER}@/{database}?" + "&".join(f"{k}={quote(v, safe='')}" for k, v in query.items())

    def tcp(self, password: str = PASSWORD, database: str = "postgres") -> str:
        """Return a URL for a TCP connection, with a password."""
        return f"postgresql://{USER}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def schema(self) -> str:
        """Create an empty schema, and return its URL."""
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
        result = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False, **self._who)
        assert result.returncode == 0, result.stderr


def _program(name: str) -> str:
    """Return the path of a program, of the newest version from Debian's packages or else in PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[4]))
    program = str(versions[-1]) if versions else shutil.which(name)
    assert program, "the tests need PostgreSQL: make postgres"
    return program
