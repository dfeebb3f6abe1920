"""The command line shows failures and stand-ins, and reinstates members."""

import asyncio
import json
from pathlib import Path

from tertulia.devstack.offline_model import Fault, Match, OfflineModelControl
from tertulia.running_stack import find_running_stack
from tests.harness.command_line import CommandLine

EXAMPLE = Path(__file__).parents[3] / "examples" / "failover.yaml"


def set_faults(tertulia: CommandLine, *faults: Fault) -> None:
    """Set exactly these faults of the stack's offline model."""
    stack = find_running_stack(tertulia.data)
    assert stack is not None
    asyncio.run(OfflineModelControl(stack.model_base_url or "").set_behaviour(*faults))


def test_isolated_member_is_shown_and_reinstated(tertulia: CommandLine) -> None:
    tertulia("apply", str(EXAMPLE))
    set_faults(tertulia, Fault(kind="server_error", match=Match(speaker="Rasmus")))
    try:
        begun = ("start", "The ferry committee", "Shall it run in winter?", "--id", "ferry")
        shown = tertulia(*begun, "--follow", "--why").stdout
        shown += tertulia("say", "ferry", "And who pays?", "--follow", "--why").stdout
    finally:
        set_faults(tertulia)
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
    assert "not muted" in tertulia.error_line("members", "unmute", "ferry", "Rasmus")
    tertulia("members", "reinstate", "ferry", "Rasmus")
    tertulia("say", "ferry", "So it is agreed?", "--follow")
    assert "Rasmus is reinstated" in tertulia("members", "list", "ferry").stdout
    assert "Rasmus (isolated)" not in tertulia("status", "ferry").stdout


def test_standby_member_joins_for_another(tertulia: CommandLine) -> None:
    tertulia("apply", str(EXAMPLE))
    tertulia("start", "The ferry committee", "And the old pier?", "--id", "pier", "--follow")
    tertulia("members", "add", "pier", "Jon", "--state", "active", "--for", "Ulrik", code=1)
    error_line = tertulia.error_line("members", "add", "pier", "Jon", "--state", "standby", "--for", "Ulrik")
    assert "manages this conversation" in error_line
    tertulia("members", "remove", "pier", "Maren", "--in-flight", "cancel")
    tertulia("members", "add", "pier", "Maren", "--state", "standby", "--for", "Ulrik")
    tertulia("members", "unmute", "pier", "Maren")
    roster = json.loads(tertulia("status", "pier", "--json").stdout)["roster"]
    assert roster["epoch"] >= 2
