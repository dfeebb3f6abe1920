"""The order of `on_failure` is that in which things are tried; after `skip`, nothing is."""

import pytest

from tertulia.core.failover import can_use_fallbacks
from tertulia.core.group import GroupSettings
from tests.unit.world import World, ref


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
def test_fallback_models_are_asked_where_they_stand_in_the_order(
    steps: tuple[str, ...], with_standby: bool, asked: bool
) -> None:
    world = World.loaded(settings=GroupSettings.model_validate({"on_failure": steps}))
    if with_standby:
        world.command("add_member", "join", agent="a5", state="standby")
        world.run()
    assert can_use_fallbacks(world.state, ref(0).agent_id) is asked


def test_after_skip_no_substitute_is_asked() -> None:
    settings = GroupSettings.model_validate({"on_failure": ["skip", "standby"]})
    world = World.loaded(settings=settings, outcome=lambda turn: "failed" if turn == 1 else "spoke")
    world.command("add_member", "join", agent="a5", state="standby")
    world.post("m1")
    world.run()
    assert "a5" not in world.speakers()
