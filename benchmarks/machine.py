"""The machine of a measurement."""

import os
import platform
from importlib.metadata import version

import psutil
from sqlalchemy import text
from temporalio.api.workflowservice.v1 import GetSystemInfoRequest

from benchmarks.bench import Bench
from benchmarks.results import Machine


async def describe_machine(bench: Bench) -> Machine:
    """Return the machine and the versions of the programs. Call it before the load starts."""
    temporal = await bench.client.scope.temporal.workflow_service.get_system_info(GetSystemInfoRequest())
    postgres = await bench.client.scope.database.row(text("SHOW server_version"))
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cores=len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count() or 1,
        memory_gb=psutil.virtual_memory().total / 2**30,
        load=psutil.getloadavg()[0],
        python=platform.python_version(),
        temporal=temporal.server_version,
        temporalio=version("temporalio"),
        postgres=str(postgres[0]).split()[0] if postgres else "unknown",
        openai=version("openai"),
    )
