"""Steps of `on_failure` are tried in order, up to `skip`."""

import pytest

from tertulia.core.failover import can_use_fallbacks
from tertulia.core.group import GroupSettings
from tests.core.simulator import CoreSimulator, ref


@pytest.mark.parametrize(
    ("steps", "with_standby", "asked"),
    [
        (("fallback_model", "standby", "skip"), True, True),
        (("standby", "fallback_model"), True, False),
        (("standby", "fallback_model"), False, True),
        (("skip", "fallback_model"), False, False),
        (("standby", "skip"), False, False),
    ],
)
def test_fallback_models_follow_step_order(steps: tuple[str, ...], with_standby: bool, asked: bool) -> None:
    simulator = CoreSimulator.loaded(settings=GroupSettings.model_validate({"on_failure": steps}))
    if with_standby:
        simulator.command("add_member", "join", agent="a5", state="standby")
        simulator.run()
    assert can_use_fallbacks(simulator.state, ref(0).agent_id) is asked


def test_skip_step_prevents_substitute() -> None:
    settings = GroupSettings.model_validate({"on_failure": ["skip", "standby"]})
    simulator = CoreSimulator.loaded(settings=settings, outcome=lambda turn: "failed" if turn == 1 else "spoke")
    simulator.command("add_member", "join", agent="a5", state="standby")
    simulator.post("m1")
    simulator.run()
    assert "a5" not in simulator.speakers()
