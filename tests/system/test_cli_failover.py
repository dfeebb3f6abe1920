"""What failed and who stepped in is read on the command line, and an operator reinstates."""

import asyncio
import json
from pathlib import Path

from tertulia.configuration import find_running_stack
from tertulia.devstack.offline_model import Fault, Match, OfflineModelControl
from tests.system.conftest import CommandLine

EXAMPLE = Path(__file__).parents[2] / "examples" / "failover.yaml"


def tell(tertulia: CommandLine, *faults: Fault) -> None:
    """Have the stack's offline model misbehave so, and no otherwise."""
    stack = find_running_stack(tertulia.data)
    assert stack is not None
    asyncio.run(OfflineModelControl(stack.model_base_url or "").behave(*faults))


def test_an_isolated_member_its_stand_in_and_its_return_are_shown(tertulia: CommandLine) -> None:
    tertulia("apply", str(EXAMPLE))
    tell(tertulia, Fault(kind="server_error", match=Match(speaker="Rasmus")))
    try:
        begun = ("start", "The ferry committee", "Shall it run in winter?", "--id", "ferry")
        shown = tertulia(*begun, "--follow", "--why").stdout
        shown += tertulia("say", "ferry", "And who pays?", "--follow", "--why").stdout
    finally:
        tell(tertulia)
    assert "Rasmus could not speak" in shown
    assert "Rasmus is isolated" in shown and "Maren stands in" in shown
    assert "the failure policy: in place of Rasmus" in shown
    status = tertulia("status", "ferry").stdout
    assert "Rasmus (isolated)" in status and "Maren (in place of Rasmus)" in status
    assert "Rasmus is isolated since turn" in status
    members = {
        one["name"]: one["state"]
        for one in json.loads(tertulia("status", "ferry", "--json").stdout)["roster"]["members"]
    }
    assert members["Rasmus"] == "isolated"
    assert "not muted" in tertulia.refused("members", "unmute", "ferry", "Rasmus")
    tertulia("members", "reinstate", "ferry", "Rasmus")
    tertulia("say", "ferry", "So it is agreed?", "--follow")
    assert "Rasmus is reinstated" in tertulia("members", "list", "ferry").stdout
    assert "Rasmus (isolated)" not in tertulia("status", "ferry").stdout


def test_one_may_join_on_standby_for_a_member_and_leave_in_mid_call(tertulia: CommandLine) -> None:
    tertulia("apply", str(EXAMPLE))
    tertulia("start", "The ferry committee", "And the old pier?", "--id", "pier", "--follow")
    tertulia("members", "add", "pier", "Jon", "--state", "active", "--for", "Ulrik", code=1)
    refused = tertulia.refused("members", "add", "pier", "Jon", "--state", "standby", "--for", "Ulrik")
    assert "manages this conversation" in refused
    tertulia("members", "remove", "pier", "Maren", "--in-flight", "cancel")
    tertulia("members", "add", "pier", "Maren", "--state", "standby", "--for", "Ulrik")
    tertulia("members", "unmute", "pier", "Maren")
    roster = json.loads(tertulia("status", "pier", "--json").stdout)["roster"]
    assert roster["epoch"] >= 2
