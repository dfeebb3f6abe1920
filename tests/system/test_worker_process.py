"""A worker as a process: its end, its metrics, and the time until it replaces a killed one."""

import asyncio
import socket
import sys
from pathlib import Path
from time import monotonic

import httpx2

from tertulia.devstack.events import StackEvent
from tertulia.devstack.processes import Program, SupervisedProcess
from tertulia.devstack.stack import Stack
from tertulia.testing import eventually, isolated_environment
from tests.system.test_worker_kills import open_scripted_stack

SLEEPER = (sys.executable, "-c", "import time; time.sleep(600)")


def two_free_ports() -> int:
    """The first of two neighbours that nobody listens on."""
    for first in range(23_000, 60_000, 7):
        with socket.socket() as one, socket.socket() as two:
            try:
                one.bind(("127.0.0.1", first))
                two.bind(("127.0.0.1", first + 1))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")


async def test_workers_serve_metrics_on_own_ports(tmp_path: Path) -> None:
    first = two_free_ports()
    async with (
        open_scripted_stack(tmp_path / "data", workers=2, TERTULIA_METRICS_PORT=str(first)),
        httpx2.AsyncClient() as client,
    ):
        for port in (first, first + 1):

            async def answers(port: int = port) -> bool:
                try:
                    return (await client.get(f"http://127.0.0.1:{port}/metrics")).status_code == 200
                except httpx2.HTTPError:
                    return False

            await eventually(answers, bool, seconds=30, interval_seconds=0.1)


async def test_worker_process_stops_with_code_0(stack: Stack) -> None:
    for _ in range(3):
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tertulia.worker"), env=stack.environment, stderr=asyncio.subprocess.PIPE
        )
        assert worker.stderr is not None
        async for line in worker.stderr:
            if b"polling task queue" in line:
                break
        worker.terminate()
        _, said = await worker.communicate()
        assert worker.returncode == 0, said.decode()
        assert b"stopping" in said


async def restart_seconds(tmp_path: Path, settle_seconds: float, life: float) -> float:
    """Seconds from a SIGKILL, after that life, to the next start."""
    starts: list[float] = []

    def note(event: StackEvent) -> None:
        if event.kind == "started":
            starts.append(monotonic())

    program = Program(
        name="sleeper", command=SLEEPER, environment=isolated_environment(), settle_seconds=settle_seconds
    )
    process = SupervisedProcess(program, tmp_path, note, lambda: None)
    await process.start()
    try:
        await asyncio.sleep(life)
        killed = monotonic()
        await process.kill()
        await eventually(lambda: asyncio.sleep(0, len(starts)), lambda number: number == 2, interval_seconds=0.002)
    finally:
        await process.stop(asyncio.Event())
    return starts[1] - killed


async def test_healthy_program_restarts_at_once(tmp_path: Path) -> None:
    well = min([await restart_seconds(tmp_path, settle_seconds=0.05, life=0.3) for _ in range(4)])
    ailing = min([await restart_seconds(tmp_path, settle_seconds=60, life=0.3) for _ in range(4)])
    assert well < 0.1 <= ailing
