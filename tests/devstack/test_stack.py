"""The embedded stack with real servers: it starts, survives kills, and leaves nothing behind."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client, WorkflowExecutionStatus

from tertulia.configuration import Configuration
from tertulia.devstack.data_folder import DataFolder, ProcessRecord, StackRecord, create_process_record
from tertulia.devstack.environment import isolated_environment
from tertulia.devstack.errors import FolderInUse, PortInUse, StartFailed
from tertulia.devstack.events import StackEvent
from tertulia.devstack.postgres import EmbeddedPostgres
from tertulia.devstack.stack import Stack, StackOptions
from tertulia.running_stack import find_running_stack

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")
FAKE_MODEL = (
    sys.executable,
    "-c",
    "import http.server as h, sys\n"
    "class Handler(h.BaseHTTPRequestHandler):\n"
    "    def do_GET(self): self.send_response(200); self.end_headers()\n"
    "h.HTTPServer(('127.0.0.1', int(sys.argv[-1])), Handler).serve_forever()\n",
)
RUN_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from tertulia.devstack.stack import Stack, StackOptions

async def main():
    options = StackOptions(data=Path(sys.argv[1]), temporal_port=0, ui_port=0, workers=0, offline_model=False)
    async with Stack(options) as stack:
        asyncio.get_running_loop().call_soon(lambda: print("waiting", flush=True))
        await stack.wait()

asyncio.run(main())
"""
EXTERNAL_TEMPORAL = {"TEMPORAL_ADDRESS": "127.0.0.1:1"}
EXTERNAL_DATABASE = {"DATABASE_URL": "postgresql://elsewhere/tertulia"}


def options(data: Path, **changes: Any) -> StackOptions:
    defaults: dict[str, Any] = {
        "data": data,
        "temporal_port": 0,
        "ui_port": 0,
        "model_port": 0,
        "workers": 0,
        "worker_command": SLEEPER,
        "model_command": FAKE_MODEL,
        "environment": isolated_environment(),
    }
    return StackOptions(**defaults | changes)


def postgres_only(data: Path) -> StackOptions:
    return options(data, offline_model=False, environment=isolated_environment(**EXTERNAL_TEMPORAL))


def connect(stack: Stack) -> psycopg.Connection[Any]:
    url = stack.configuration.database_url.replace("postgresql+psycopg", "postgresql")
    return psycopg.connect(url, autocommit=True)


def recorded(data: Path) -> dict[str, ProcessRecord]:
    record = StackRecord.model_validate_json((data / "stack.json").read_bytes())
    return {process.name: process for process in record.processes}


async def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def exists(path: Path) -> bool:
    return path.exists()


def count(events: list[StackEvent], program: str, kind: str) -> int:
    return sum(event.program == program and event.kind == kind for event in events)


@pytest.fixture(scope="module")
def events() -> list[StackEvent]:
    return []


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory, events: list[StackEvent]) -> AsyncIterator[Stack]:
    data = tmp_path_factory.mktemp("stack")
    async with Stack(options(data, workers=1), report=events.append) as stack:
        yield stack


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder for tests that share a Postgres cluster, one after the other."""
    return tmp_path_factory.mktemp("cluster")


async def test_client_finds_stack_by_data_folder(stack: Stack) -> None:
    configuration = Configuration.from_environment(isolated_environment(TERTULIA_DATA=str(stack.options.data)))
    assert configuration.model_endpoint.offline
    assert configuration.default_model == "offline"
    assert configuration.temporal_ui_url == stack.addresses.temporal_ui_url
    assert configuration.database_url == stack.addresses.database_url
    client = await Client.connect(**configuration.temporal_connect_config())
    assert await client.service_client.check_health()


async def test_workers_get_addresses_of_stack(stack: Stack) -> None:
    (worker,) = stack.worker_pids
    told = Configuration.from_environment(psutil.Process(worker).environ())
    assert told.database_url == stack.addresses.database_url
    assert told.temporal_address == stack.addresses.temporal_address
    assert told.temporal_ui_url == stack.addresses.temporal_ui_url
    assert told.model_endpoint.base_url == stack.addresses.model_base_url
    assert told.model_endpoint.offline


async def test_temporal_retention_and_attributes(stack: Stack) -> None:
    client = await Client.connect(stack.configuration.temporal_address)
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
    assert described.config.workflow_execution_retention_ttl.ToTimedelta().days >= 30
    listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    assert listed.custom_attributes["GroupId"] == IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
    assert listed.custom_attributes["Members"] == IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST


async def test_postgres_is_local_and_durable(stack: Stack) -> None:
    with connect(stack) as connection:
        for setting, expected in (("listen_addresses", ""), ("fsync", "on"), ("synchronous_commit", "on")):
            assert connection.execute(f"SHOW {setting}").fetchone() == (expected,)


async def test_second_stack_on_folder_is_refused(stack: Stack) -> None:
    with pytest.raises(FolderInUse, match=f"process {os.getpid()}"):
        async with Stack(options(stack.options.data)):
            pass
    assert find_running_stack(stack.options.data) == stack.addresses


async def test_killed_worker_is_restarted(stack: Stack, events: list[StackEvent]) -> None:
    (before,) = stack.worker_pids
    await stack.kill_worker(0)
    await eventually(lambda: count(events, "worker-1", "started") == 2)
    (after,) = stack.worker_pids
    assert before != after
    assert recorded(stack.options.data)["worker-1"].pid == after


@pytest.mark.parametrize("program", ["model", "postgres", "temporal"])
async def test_killed_server_restarts_on_same_port(stack: Stack, events: list[StackEvent], program: str) -> None:
    is_ready = count(events, program, "ready")
    os.kill(recorded(stack.options.data)[program].pid, signal.SIGKILL)
    await eventually(lambda: count(events, program, "ready") == is_ready + 1)
    with connect(stack) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    assert await (await Client.connect(stack.configuration.temporal_address)).service_client.check_health()


async def test_stopped_stack_leaves_nothing_running(cluster: Path) -> None:
    seen: list[str] = []

    async def prepare(stack: Stack) -> None:
        with connect(stack) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS kept (word text)")
        assert not stack.worker_pids

    async with Stack(options(cluster, workers=2), prepare=prepare, report=lambda event: seen.append(str(event))) as up:
        assert len(up.worker_pids) == 2
        pids = [process.pid for process in recorded(cluster).values()]
        pids += [child.pid for pid in pids for child in psutil.Process(pid).children(recursive=True)]
    await eventually(lambda: not any(map(is_running, pids)))
    assert find_running_stack(cluster) is None
    assert recorded(cluster) == {}
    folder = DataFolder(cluster)
    folder.lock()
    folder.unlock()
    order = [line.split()[0] for line in seen if "stopped in" in line]
    assert set(order[:2]) == {"worker-1", "worker-2"}
    assert order[-1] == "stack"


@contextmanager
def running(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Context manager: a process that this test started and that does not outlive it."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            yield process
        finally:
            process.kill()


@asynccontextmanager
async def running_stack_process(data: Path, **variables: str) -> AsyncIterator[subprocess.Popen[str]]:
    """Context manager: a stack in a process of its own, started and waiting."""
    with running([sys.executable, "-c", RUN_UNTIL_KILLED, str(data)], env=isolated_environment(**variables)) as process:
        assert process.stdout is not None
        assert await asyncio.to_thread(process.stdout.readline) == "waiting\n"
        yield process


async def test_killed_stack_resumes_with_its_data(tmp_path: Path) -> None:
    async with running_stack_process(tmp_path) as process:
        before = find_running_stack(tmp_path)
        assert before is not None and before.temporal_address is not None and before.database_url is not None
        client = await Client.connect(before.temporal_address)
        await client.start_workflow("Nobody", id="kept", task_queue="nobody")
        with psycopg.connect(before.database_url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'said' AS word")
        left = [record.pid for record in recorded(tmp_path).values()]
        process.kill()
        if sys.platform == "linux":
            await eventually(lambda: not any(map(is_running, left)))
    assert find_running_stack(tmp_path) is None

    async with Stack(options(tmp_path, offline_model=False)) as stack:
        assert stack.addresses.temporal_address == before.temporal_address
        client = await Client.connect(before.temporal_address)
        described = await client.get_workflow_handle("kept").describe()
        assert described.status is WorkflowExecutionStatus.RUNNING
        with connect(stack) as connection:
            assert connection.execute("SELECT word FROM kept").fetchone() == ("said",)


async def test_sigterm_stops_the_stack_cleanly(cluster: Path) -> None:
    async with running_stack_process(cluster, **EXTERNAL_TEMPORAL) as process:
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
    assert recorded(cluster) == {}
    assert not (cluster / "postgres" / "postmaster.pid").exists()


async def test_orphaned_postgres_is_stopped_first(cluster: Path) -> None:
    orphaned = EmbeddedPostgres(cluster)
    await orphaned.prepare()
    program = orphaned.program(isolated_environment())
    with running(program.command, user=program.user, stderr=subprocess.DEVNULL) as orphan:
        lock = cluster / "postgres" / "postmaster.pid"
        await eventually(lambda: lock.exists() and "ready" in lock.read_text())
        async with Stack(postgres_only(cluster)) as stack:
            with connect(stack) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            assert orphan.poll() is not None


async def test_stale_postgres_lock_file_is_ignored(cluster: Path) -> None:
    await EmbeddedPostgres(cluster).prepare()
    (cluster / "postgres" / "postmaster.pid").write_text(f"{os.getppid()}\n{cluster}\n0\n5432\n\n\n")
    async with Stack(postgres_only(cluster)) as stack:
        assert stack.addresses.temporal_address is None
        with connect(stack) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_deep_folder_uses_short_socket_path(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 20)
    async with Stack(postgres_only(deep)) as stack:
        assert tempfile.gettempdir().replace("/", "%2F") in stack.configuration.database_url
        sockets = Path(psutil.Process(recorded(deep)["postgres"].pid).cmdline()[4])
        with connect(stack) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert exists(sockets)
    assert not exists(sockets)


async def test_leftover_processes_are_stopped(tmp_path: Path) -> None:
    with running(SLEEPER) as leftover, running(SLEEPER) as stranger:
        left = create_process_record("worker-1", leftover.pid, SLEEPER, signal.SIGTERM)
        reused = create_process_record("worker-2", stranger.pid, SLEEPER, signal.SIGTERM)
        assert left is not None and reused is not None
        reused = reused.model_copy(update={"create_time": reused.create_time - 60})
        folder = DataFolder(tmp_path)
        folder.lock()
        folder.write(StackRecord(processes=(left, reused)))
        await folder.end_leftover_processes()
        folder.unlock()
        assert leftover.poll() is not None
        assert stranger.poll() is None


async def test_taken_port_is_refused_by_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"port {port} .*Temporal.*--temporal-port"):
            async with Stack(options(tmp_path, temporal_port=port)):
                pass
    assert not (tmp_path / "logs").exists()
    assert find_running_stack(tmp_path) is None


async def test_external_services_are_not_started(tmp_path: Path) -> None:
    elsewhere = isolated_environment(**EXTERNAL_TEMPORAL, **EXTERNAL_DATABASE, OPENAI_API_KEY="real")
    async with Stack(options(tmp_path, workers=1, environment=elsewhere)) as stack:
        assert set(recorded(tmp_path)) == {"worker-1"}
        told = Configuration.from_environment(psutil.Process(stack.worker_pids[0]).environ())
        assert told.temporal_address == "127.0.0.1:1"
        assert told.database_url == "postgresql+psycopg://elsewhere/tertulia"
        assert not told.model_endpoint.offline


async def test_failed_program_reports_last_output(tmp_path: Path) -> None:
    hopeless = (sys.executable, "-c", "raise SystemExit('no such voice')")
    elsewhere = isolated_environment(**EXTERNAL_TEMPORAL, **EXTERNAL_DATABASE)
    with pytest.raises(StartFailed, match=r"(?s)model ended with exit code 1 .*no such voice"):
        async with Stack(options(tmp_path, model_command=hopeless, environment=elsewhere)):
            pass
    assert find_running_stack(tmp_path) is None


async def test_wait_fails_when_worker_cannot_run(tmp_path: Path) -> None:
    hopeless = (sys.executable, "-c", "raise SystemExit('no such worker')")
    elsewhere = isolated_environment(**EXTERNAL_TEMPORAL, **EXTERNAL_DATABASE, OPENAI_API_KEY="real")
    async with Stack(options(tmp_path, workers=1, worker_command=hopeless, environment=elsewhere)) as stack:
        with pytest.raises(StartFailed, match=r"(?s)worker-1 .*no such worker"):
            await stack.wait()


async def test_request_stop_stops_the_stack(tmp_path: Path) -> None:
    elsewhere = isolated_environment(**EXTERNAL_TEMPORAL, **EXTERNAL_DATABASE, OPENAI_API_KEY="real")
    async with Stack(options(tmp_path, environment=elsewhere)) as stack:
        stack.request_stop()
        await stack.wait()


@pytest.mark.parametrize("command", ["worker_command", "model_command", "api_command"])
def test_user_modules_do_not_replace_libraries(command: str, tmp_path: Path) -> None:
    for name in ("tertulia", "worker", "store", "pydantic", "temporalio"):
        (tmp_path / f"{name}.py").write_text("raise ImportError(__name__)")
    started = [*getattr(StackOptions(), command), "--help"]
    done = subprocess.run(started, cwd=tmp_path, env=isolated_environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
