"""The agents and groups of chaos runs: a dynamic group of three, an agent that joins, and groups for the soak."""

from tertulia.client.manifest import AgentSpec, GroupSpec, Manifest

MANAGED_GROUP = "The table under test"
SOAK_GROUP = "The long talk"
JOINER, LEAVER = "Dora", "Velma"
_PERSONAS = {
    "Velma": "a sceptical economist",
    "Tomas": "a cook who has run kitchens",
    "Rosa": "a historian of cities",
    "Dora": "a gardener",
    "Emil": "a locksmith",
    "Host": "the host. Finish after 4 turns",
}
_SETTINGS = {"turn_timeout_seconds": 3, "retry_initial_seconds": 0.2}
"""Short limits, so that a hanging model is given up soon."""


def create_manifest() -> Manifest:
    """Return all agents and groups."""
    agents = tuple(
        AgentSpec.model_validate({"name": name, "instructions": f"You are {name}, {persona}."})
        for name, persona in _PERSONAS.items()
    )
    managed = {
        "name": MANAGED_GROUP,
        "agents": ["Velma", "Tomas", "Rosa"],
        "manager_config": {"manager_type": "dynamic", "manager_agent_id": "Host", "max_turns": 12},
        "settings": _SETTINGS,
    }
    soak = {
        "name": SOAK_GROUP,
        "agents": ["Velma", "Tomas", "Rosa"],
        "standby": ["Emil"],
        "manager_config": {"manager_type": "round_robin", "max_turns": 6},
        "settings": {**_SETTINGS, "cool_down_seconds": 20, "probe_initial_seconds": 1, "probe_maximum_seconds": 10},
    }
    return Manifest(agents=agents, groups=tuple(GroupSpec.model_validate(one) for one in (managed, soak)))
