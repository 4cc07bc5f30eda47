"""The embedded PostgreSQL keeps its promises to the data, and to the machine that it runs on."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cli.embedded import EmbeddedError, EmbeddedPostgres, postgres
from cli.embedded.postgres import choose_identity, running_url
from cli.embedded.process import command_of, free_port
from tests.support.processes import ended, listening_addresses

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data folder that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder with one committed row: copying it takes a tenth of the time that creating one takes."""
    folder = tmp_path_factory.mktemp("written") / "data"
    with EmbeddedPostgres(folder) as running, psycopg.connect(running.url) as connection:
        connection.execute("CREATE TABLE kept (value int)")
        connection.execute("INSERT INTO kept VALUES (42)")
    return folder


@pytest.fixture
def server(written: Path, data: Path) -> Iterator[EmbeddedPostgres]:
    """Yield a running server on the data folder, with one committed row."""
    shutil.copytree(written, data)
    running = EmbeddedPostgres(data)
    running.start()
    yield running
    running.close()


def kept(url: str) -> list[tuple[int]]:
    """Return the rows that must survive."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT value FROM kept").fetchall()


def socket_folder(url: str) -> Path:
    """Return the folder of the socket that the address names."""
    return Path(str(psycopg.conninfo.conninfo_to_dict(url)["host"]))


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stopped_server_keeps_what_was_committed(server: EmbeddedPostgres, mode: str) -> None:
    """Whatever was committed is there after a stop and a start, at the same address."""
    url = server.url
    server.stop(mode)
    server.start()
    assert server.url == url
    assert kept(url) == [(42,)]


def test_a_killed_server_starts_again(server: EmbeddedPostgres) -> None:
    """A kill -9 of the server with open sessions leaves a stale record and dying sessions: neither stops a start."""
    session = psycopg.connect(server.url)
    session.execute("INSERT INTO kept VALUES (43)")
    server.kill()
    server.start()
    assert kept(server.url) == [(42,)]
    session.close()


def test_a_new_owner_finds_the_data(server: EmbeddedPostgres, data: Path) -> None:
    """The data belongs to the folder, not to the process that wrote it."""
    server.close()
    with EmbeddedPostgres(data) as successor:
        assert kept(successor.url) == [(42,)]


def test_a_second_server_on_the_same_folder_is_refused(server: EmbeddedPostgres, data: Path) -> None:
    """Two servers on one folder would destroy it: the second is told who has it, and the first goes on."""
    with pytest.raises(EmbeddedError, match=f"already in use by process {os.getpid()}$"):
        EmbeddedPostgres(data).start()
    assert kept(server.url) == [(42,)]


def test_another_major_version_is_refused_by_name(server: EmbeddedPostgres, data: Path) -> None:
    """Data of another major version is not touched, and the message names both versions."""
    server.close()
    (data / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="was written by PostgreSQL 17, here is PostgreSQL 18"):
        EmbeddedPostgres(data).start()


def test_a_folder_of_somebody_else_is_refused(data: Path) -> None:
    """A folder that is not PostgreSQL's stays as it is."""
    (data / "postgres").mkdir(parents=True)
    (data / "postgres" / "diary.txt").write_text("private")
    with pytest.raises(EmbeddedError, match="is not a data folder of PostgreSQL"):
        EmbeddedPostgres(data).start()
    assert [path.name for path in (data / "postgres").iterdir()] == ["diary.txt"]


def test_an_interrupted_creation_is_made_again(data: Path) -> None:
    """What a killed initdb left is thrown away: half a cluster never looks like one."""
    (data / "postgres.new").mkdir(parents=True)
    (data / "postgres.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(data) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_record_whose_number_is_anothers_now_does_not_stop_a_start(server: EmbeddedPostgres, data: Path) -> None:
    """After a reboot the recorded process id may be anybody's: PostgreSQL alone would refuse for ever."""
    server.close()
    (data / "postgres" / "postmaster.pid").write_text(f"{os.getpid()}\n{data}/postgres\n1\n5432\n/tmp\n\n1 1\nready\n")
    server.start()
    assert kept(server.url) == [(42,)]


def test_a_wrong_setting_is_told_in_one_line(data: Path) -> None:
    """A server that does not start says why, and leaves the folder free for the next try."""
    with pytest.raises(EmbeddedError, match=r"did not start on .*no_such_setting") as refused:
        EmbeddedPostgres(data, settings={"no_such_setting": "1"}).start()
    assert "\n" not in str(refused.value)
    with EmbeddedPostgres(data):
        pass


def test_it_is_durable_unless_told_otherwise(server: EmbeddedPostgres) -> None:
    """The ledger's data is safe by default; the caller's settings go over the defaults."""
    with psycopg.connect(server.url) as connection:
        settings = "SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('TimeZone')"
        assert connection.execute(settings).fetchone() == ("on", "on", "UTC")


def test_text_is_ordered_by_code_point(server: EmbeddedPostgres) -> None:
    """The order of names must not depend on the machine's locale; letters beyond ASCII still have a case."""
    with psycopg.connect(server.url) as connection:
        rows = connection.execute("SELECT v, upper(v) FROM (VALUES ('é'), ('a'), ('Z'), ('_')) AS t (v) ORDER BY v")
        assert rows.fetchall() == [("Z", "Z"), ("_", "_"), ("a", "A"), ("é", "É")]


def test_it_listens_nowhere_but_in_a_folder_of_its_own(server: EmbeddedPostgres) -> None:
    """Without a port there is only the socket, in a folder that nobody else can enter, and that goes at the end."""
    sockets = socket_folder(server.url)
    assert listening_addresses(server.pid) == set()
    assert sockets.stat().st_mode & 0o777 == 0o700
    server.close()
    assert not sockets.exists()


def test_a_port_is_on_loopback_and_asks_for_the_password(data: Path) -> None:
    """Everybody on the machine can reach a port of 127.0.0.1: only who can read the data folder gets in."""
    port = free_port()
    with EmbeddedPostgres(data, port=port) as server:
        assert listening_addresses(server.pid) == {f"127.0.0.1:{port}"}
        assert (data / "postgres.password").stat().st_mode & 0o777 == 0o600
        with psycopg.connect(server.tcp_url()) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(f"postgresql://postgres@127.0.0.1:{port}/postgres")


def test_a_taken_port_is_named(data: Path) -> None:
    """A port that somebody listens on is refused by its number."""
    with EmbeddedPostgres(data, port=free_port()) as server:
        taken = psycopg.conninfo.conninfo_to_dict(server.tcp_url())["port"]
        with pytest.raises(EmbeddedError, match=f"port {taken} .* is not free"):
            EmbeddedPostgres(data.with_name("other"), port=int(taken)).start()


def test_a_database_is_created_once(server: EmbeddedPostgres) -> None:
    """Asking again for a database gives the same one."""
    url = server.database("o'dd \"name/ü")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE here (value int)")
    with psycopg.connect(server.database("o'dd \"name/ü")) as connection:
        assert connection.execute("SELECT count(*) FROM here").fetchone() == (0,)


def test_others_find_the_running_server(server: EmbeddedPostgres, data: Path) -> None:
    """A second command on the same folder uses the server that runs there, as long as it runs."""
    url = running_url(data, "postgres")
    assert url is not None
    assert kept(url) == [(42,)]
    server.stop()
    assert running_url(data, "postgres") is None


# What a process does that owns a server: start it, say so, and live until it is killed.
OWNER = """
import sys, pathlib, signal
from cli.embedded import EmbeddedPostgres
server = EmbeddedPostgres(pathlib.Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def owner(written: Path, data: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Yield another process that owns a server on the data folder, and the server's process id."""
    shutil.copytree(written, data)
    with subprocess.Popen([sys.executable, "-c", OWNER, str(data)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
        process.kill()


def test_the_server_goes_when_its_owner_is_killed(owner: tuple[subprocess.Popen[str], int], data: Path) -> None:
    """A kill -9 of the owner ends the server in good order, and takes its socket folder away."""
    process, server = owner
    url = running_url(data, "postgres")
    assert url is not None
    sockets = socket_folder(url)
    process.kill()
    assert ended(server, timeout_s=20)
    assert ended(sockets, timeout_s=20)
    assert not (data / "postgres" / "postmaster.pid").exists()


def test_a_new_owner_follows_at_once(owner: tuple[subprocess.Popen[str], int], data: Path) -> None:
    """A start right after the owner's kill -9 waits for the old server to end, whoever ends it, and then runs."""
    process, old = owner
    sockets = socket_folder(str(running_url(data, "postgres")))
    process.kill()
    process.wait()
    with EmbeddedPostgres(data) as server:
        assert server.pid != old
        assert not command_of(old)
        assert ended(sockets, timeout_s=20)


def test_another_process_is_refused_too(owner: tuple[subprocess.Popen[str], int], data: Path) -> None:
    """The lock holds between processes, and names the holder."""
    process, _ = owner
    with pytest.raises(EmbeddedError, match=f"already in use by process {process.pid}$"):
        EmbeddedPostgres(data).start()


def test_ctrl_c_is_for_us_alone(server: EmbeddedPostgres) -> None:
    """The terminal's Ctrl-C reaches a whole session: the server is in another, so that its users can end first."""
    assert os.getsid(server.pid) != os.getsid(0)


def modes_upwards(path: Path) -> dict[Path, tuple[int, int, int]]:
    """Return mode and owner of a folder and of everything above it."""
    return {each: (each.stat().st_mode, each.stat().st_uid, each.stat().st_gid) for each in (path, *path.parents)}


def test_folders_that_are_not_ours_keep_their_modes(tmp_path: Path) -> None:
    """A start changes neither the folders above the data nor those above the programs, and makes no system user."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    users = pwd.getpwall()
    before = modes_upwards(private) | modes_upwards(postgres.binaries())
    with EmbeddedPostgres(private / "data"):
        pass
    assert modes_upwards(private) | modes_upwards(postgres.binaries()) == before
    assert pwd.getpwall() == users
    assert (private / "data").stat().st_mode & 0o777 == 0o700


@only_root
def test_root_becomes_another_without_giving_the_files_away(server: EmbeddedPostgres, data: Path) -> None:
    """In its own user namespace the server is not root, while its files stay with the user who started it."""
    if not choose_identity(data / "postgres").prefix:
        pytest.skip("user namespaces are forbidden here")
    assert (data / "postgres").stat().st_uid == os.getuid()
    assert Path(f"/proc/{server.pid}/uid_map").read_text().split()[0] != "0"


@pytest.fixture
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbid user namespaces, as many containers do."""
    monkeypatch.setattr(postgres, "_namespace_prefix", lambda _user, _group: None)


@only_root
@pytest.mark.usefixtures("without_namespaces")
def test_without_namespaces_root_gives_up_its_rights() -> None:
    """Where namespaces are forbidden the server runs as an unprivileged user, who owns the cluster and nothing else."""
    data = Path(tempfile.mkdtemp())
    try:
        data.chmod(0o711)
        with EmbeddedPostgres(data) as server:
            nobody = pwd.getpwnam("nobody").pw_uid
            assert f"Uid:\t{nobody}\t" in Path(f"/proc/{server.pid}/status").read_text()
            assert (data / "postgres").stat().st_uid == nobody
            assert data.stat().st_uid == 0
            with psycopg.connect(server.url) as connection:
                connection.execute("CREATE TABLE kept (value int)")
        with EmbeddedPostgres(data) as again:
            assert kept(again.url) == []
    finally:
        shutil.rmtree(data)


@only_root
@pytest.mark.usefixtures("without_namespaces")
def test_a_folder_out_of_reach_is_refused_not_opened(tmp_path: Path) -> None:
    """When the unprivileged user cannot reach the data, root is told so in one line: nothing is made readable."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(EmbeddedError, match=r"cannot reach .*: start this as another user"):
        EmbeddedPostgres(private / "data").start()
    assert private.stat().st_mode & 0o777 == 0o700


def test_a_server_that_is_not_ours_is_left_alone(server: EmbeddedPostgres, data: Path) -> None:
    """A PostgreSQL that somebody else runs on our folder is named, not ended and not joined."""
    server.close()
    prefix = choose_identity(data / "postgres").prefix
    sockets = Path(tempfile.mkdtemp(prefix="cl-", dir="/tmp"))
    command = [*prefix, str(postgres.binaries() / "postgres"), "-c", f"unix_socket_directories={sockets}", "-h", ""]
    stranger = subprocess.Popen([*command, "-D", str(data / "postgres")], stderr=subprocess.PIPE, text=True)
    try:
        assert stranger.stderr is not None
        assert any("ready to accept connections" in line for line in stranger.stderr)
        with pytest.raises(EmbeddedError, match=f"PostgreSQL process {stranger.pid}, which is not ours"):
            EmbeddedPostgres(data).start()
        assert stranger.poll() is None
    finally:
        stranger.send_signal(signal.SIGQUIT)
        stranger.communicate()
        shutil.rmtree(sockets)
