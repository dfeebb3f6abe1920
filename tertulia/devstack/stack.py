"""The embedded stack: Temporal, Postgres, the offline model, workers and the API.

A part that the environment configures elsewhere is not started. A second start on the same folder resumes everything.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Self

from tertulia.configuration import OFFLINE_MODEL, Configuration
from tertulia.devstack.data_folder import DataFolder, create_process_record
from tertulia.devstack.errors import StackError
from tertulia.devstack.events import EventReporter, StackEvent
from tertulia.devstack.model_server import OfflineModelServer
from tertulia.devstack.offline_model import OfflineModelControl
from tertulia.devstack.ports import PortRequest, choose_ports
from tertulia.devstack.postgres import EmbeddedPostgres
from tertulia.devstack.processes import Program, SupervisedProcess
from tertulia.devstack.programs import ApiServer
from tertulia.devstack.signals import StopSignals
from tertulia.devstack.temporal import NAMESPACE, EmbeddedTemporal
from tertulia.running_stack import RunningStack

_PYTHON = (sys.executable, "-P")
"""Without the working directory on the module path: a user's modules must not replace libraries that we import."""
_WORKER_STOP_MARGIN_SECONDS = 5.0
_PORT_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """Parts of the stack. Ports: 0 = a free one, and the same again at the next start if it is still free."""

    data: Path = Path(".tertulia")
    """The data folder; created if needed."""
    temporal_port: int = 7233
    """Temporal's gRPC port."""
    ui_port: int | None = 8233
    """The port of Temporal's UI; None = no UI."""
    model_port: int = 8234
    """The offline model's port."""
    api_port: int | None = None
    """The API's port; None = no API."""
    workers: int = 1
    """Number of worker processes."""
    offline_model: bool = True
    """True to run the offline model if no real endpoint is configured."""
    worker_command: tuple[str, ...] = (*_PYTHON, "-m", "tertulia.worker")
    """Runs one worker."""
    model_command: tuple[str, ...] = (*_PYTHON, "-m", "tertulia.devstack.offline_model")
    """Runs the offline model; gets `--host` and `--port` appended."""
    api_command: tuple[str, ...] = (*_PYTHON, "-m", "tertulia.api")
    """Runs the API; gets `--host` and `--port` appended."""
    environment: Mapping[str, str] | None = None
    """Environment of the programs. It decides which parts are configured elsewhere; None = this process's own."""


class Stack:
    """Context manager: the running stack. Entered when all servers answer; everything is stopped at exit.

    Enter it in the main thread.

    Args:
        options: parts and places.
        prepare: runs at every start, when the servers answer and before the first worker and the API start.
        report: gets every event, in the event loop's thread.
    """

    def __init__(
        self,
        options: StackOptions,
        *,
        prepare: Callable[["Stack"], Awaitable[None]] | None = None,
        report: EventReporter | None = None,
    ) -> None:
        self.options = options
        self._prepare = prepare
        self._report = report or (lambda event: None)
        self._folder = DataFolder(options.data)
        self._signals = StopSignals()
        self._postgres: EmbeddedPostgres | None = None
        self._temporal: EmbeddedTemporal | None = None
        self._model: OfflineModelServer | None = None
        self._api: ApiServer | None = None
        self._servers: list[SupervisedProcess] = []
        self._workers: list[SupervisedProcess] = []
        self._api_servers: list[SupervisedProcess] = []

    async def __aenter__(self) -> Self:
        started_at = monotonic()
        self._folder.lock()
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        self._report(StackEvent("stack", "ready", monotonic() - started_at))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        started_at = monotonic()
        await self._stop()
        self._report(StackEvent("stack", "stopped", monotonic() - started_at))

    @property
    def addresses(self) -> RunningStack:
        """Addresses of the embedded servers; None for parts configured elsewhere."""
        return RunningStack(
            pid=os.getpid(),
            database_url=self._postgres.url if self._postgres else None,
            temporal_address=self._temporal.address if self._temporal else None,
            temporal_namespace=NAMESPACE,
            temporal_ui_url=self._temporal.ui_url if self._temporal else None,
            model_base_url=self._model.base_url if self._model else None,
            api_url=self._api.url if self._api else None,
        )

    @property
    def model(self) -> OfflineModelControl:
        """Controls the offline model.

        Raises:
            StackError: the stack runs without it.
        """
        if self._model is None:
            raise StackError("this stack has no offline model: a model endpoint is configured, or it was left out")
        return OfflineModelControl(self._model.base_url)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a program that uses this stack, such as a worker."""
        addresses = self.addresses
        variables = {
            "TERTULIA_DATA": str(self._folder.path),
            "DATABASE_URL": addresses.database_url,
            "TEMPORAL_ADDRESS": addresses.temporal_address,
            "TEMPORAL_NAMESPACE": addresses.temporal_namespace if addresses.temporal_address else None,
            "TERTULIA_TEMPORAL_UI": addresses.temporal_ui_url,
            "OPENAI_BASE_URL": addresses.model_base_url,
            "OPENAI_API_KEY": OFFLINE_MODEL if addresses.model_base_url else None,
        }
        return self._base_environment | {name: text for name, text in variables.items() if text is not None}

    @property
    def configuration(self) -> Configuration:
        """The configuration of a program that uses this stack."""
        return Configuration.from_environment(self.environment)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """Process ids of the running workers."""
        return tuple(worker.pid for worker in self._workers if worker.pid is not None)

    async def kill_worker(self, index: int) -> None:
        """Send SIGKILL to one worker, counted from 0, and wait until it has ended. It is restarted."""
        await self._workers[index].kill()

    async def kill(self, name: str) -> None:
        """Send SIGKILL to a program (`temporal`, `postgres`, `model`, `api`, `worker-1`…) and wait until it has ended.
        It is
        restarted.
        """
        programs = {process.program.name: process for process in self._all_processes}
        await programs[name].kill()

    def request_stop(self) -> None:
        """Make `wait` return."""
        self._signals.stop_requested.set()

    async def wait(self) -> None:
        """Wait until SIGINT, SIGTERM, SIGHUP or `request_stop`. From then on a second signal stops without patience.

        Raises:
            StartFailed: a program kept dying from its first start on.
        """
        self._signals.install()
        waiting = [asyncio.create_task(process.wait_for_failure()) for process in self._all_processes]
        stop_requested = asyncio.create_task(self._signals.stop_requested.wait())
        try:
            done, _ = await asyncio.wait({stop_requested, *waiting}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stop_requested, *waiting):
                task.cancel()

    @property
    def _all_processes(self) -> tuple[SupervisedProcess, ...]:
        return (*self._servers, *self._workers, *self._api_servers)

    @cached_property
    def _base_environment(self) -> dict[str, str]:
        return dict(os.environ if self.options.environment is None else self.options.environment)

    @cached_property
    def _base_configuration(self) -> Configuration:
        return Configuration.from_environment(self._base_environment)

    async def _start(self) -> None:
        was_killed = await self._folder.end_leftover_processes()
        # A process that the kernel kills may be gone from the list before it lets go of its ports.
        await self._choose_servers(_PORT_TIMEOUT_SECONDS if was_killed else 0.0)
        await self._start_servers()
        if self._prepare is not None:
            await self._prepare(self)
        self._folder.write(self._folder.record.model_copy(update={"running": self.addresses}))
        for number in range(1, self.options.workers + 1):
            await self._add_process(self._workers, self._worker_program(number)).start()
        if self._api:
            await self._add_process(self._api_servers, self._api.program(self.environment)).start()

    async def _choose_servers(self, timeout_seconds: float) -> None:
        """Decide which servers to run and on which ports, without starting them."""
        previous_ports = self._folder.record.ports
        ports = await choose_ports(self._port_requests(), previous_ports, timeout_seconds)
        self._folder.write(self._folder.record.model_copy(update={"ports": previous_ports | ports}))
        if not self._base_configuration.is_database_configured:
            self._postgres = EmbeddedPostgres(self._folder.path)
        if "temporal" in ports:
            self._temporal = EmbeddedTemporal(self._folder.path, ports["temporal"], ports.get("ui"))
        if "model" in ports:
            self._model = OfflineModelServer(self.options.model_command, ports["model"])
        if "api" in ports:
            self._api = ApiServer(self.options.api_command, ports["api"])

    def _port_requests(self) -> dict[str, PortRequest]:
        options = self.options
        requests: dict[str, PortRequest] = {}
        if not self._base_configuration.is_temporal_configured:
            requests["temporal"] = PortRequest("Temporal", "--temporal-port", options.temporal_port)
            if options.ui_port is not None:
                requests["ui"] = PortRequest("Temporal's UI", "--ui-port", options.ui_port)
        if options.offline_model and not self._base_configuration.is_model_configured:
            requests["model"] = PortRequest("the offline model", "--model-port", options.model_port)
        if options.api_port is not None:
            requests["api"] = PortRequest("the API", "--api-port", options.api_port)
        return requests

    async def _start_servers(self) -> None:
        try:
            async with asyncio.TaskGroup() as starting:
                if self._postgres:
                    starting.create_task(self._start_postgres(self._postgres))
                for server in (self._temporal, self._model):
                    if server:
                        program = server.program(self._base_environment)
                        starting.create_task(self._add_process(self._servers, program).start())
        except ExceptionGroup as group:
            raise group.exceptions[0] from None

    async def _start_postgres(self, postgres: EmbeddedPostgres) -> None:
        await postgres.prepare()
        await self._add_process(self._servers, postgres.program(self._base_environment)).start()

    def _worker_program(self, number: int) -> Program:
        return Program(
            name=f"worker-{number}",
            command=self.options.worker_command,
            environment=self.environment | _metrics_environment(self._base_configuration, number),
            stop_timeout_seconds=self._base_configuration.graceful_shutdown_seconds + _WORKER_STOP_MARGIN_SECONDS,
        )

    def _add_process(self, tier: list[SupervisedProcess], program: Program) -> SupervisedProcess:
        process = SupervisedProcess(program, self._folder.logs, self._report, self._record_processes)
        tier.append(process)
        return process

    def _record_processes(self) -> None:
        """Record the running processes, so that the next start can end them if this process is killed."""
        records = [
            create_process_record(
                process.program.name, process.pid, process.program.command, process.program.stop_signal
            )
            for process in self._all_processes
            if process.pid is not None
        ]
        processes = tuple(record for record in records if record)
        self._folder.write(self._folder.record.model_copy(update={"processes": processes}))

    async def _stop(self) -> None:
        try:
            # Each needs the next to finish what it is doing.
            for tier in (self._api_servers, self._workers, self._servers):
                await asyncio.gather(*(process.stop(self._signals.kill_requested) for process in tier))
            if self._postgres:
                self._postgres.remove_socket_folder()
            self._folder.write(self._folder.record.model_copy(update={"processes": (), "running": None}))
        finally:
            self._signals.restore()
            self._folder.unlock()


def _metrics_environment(configuration: Configuration, number: int) -> dict[str, str]:
    """Return the environment of the n-th worker: the first serves metrics on the configured port, each further one on
    the
    next.
    """
    first = configuration.metrics_port
    return {} if first is None else {"TERTULIA_METRICS_PORT": str(first + number - 1)}
