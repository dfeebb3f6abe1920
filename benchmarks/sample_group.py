"""The agents of the benchmark: four members, and a manager for dynamic conversations."""

from typing import Any

from benchmarks.plan import ManagerType
from tertulia.client.manifest import AgentSpec, GroupSpec, Manifest
from tertulia.core.agents import Agent, ModelSettings
from tertulia.core.group import GroupSettings
from tertulia.core.ids import AgentId
from tertulia.core.prompt import GroupContext, MemberProfile
from tertulia.devstack.offline_model import TERSE_MODEL

CONTEXT_MESSAGES = 20
OPENING_MESSAGE = "What would make this town a better place to grow old in?"
SENDER = "Narrator"
_DESCRIPTION = "Four people of different trades think a question of their town through."
_TRADES = {
    "Velma": ("Journalist; asks how anybody knows.", "You ask for the evidence and enjoy it when there is some."),
    "Bruno": ("Engineer; asks what fails first.", "You think in flows and loads, and like trials that can be undone."),
    "Celeste": ("Poet; notices what a place is for.", "You bring one image, and say what follows from it."),
    "Ines": ("Doctor; asks who carries the cost.", "You take the history before you prescribe anything."),
}


def _agent(name: str, description: str, instructions: str) -> Agent:
    return Agent(
        id=AgentId(f"bench-{name.lower()}"),
        name=name,
        description=description,
        instructions=f"You are {name}. {instructions}",
        model=ModelSettings(model=TERSE_MODEL),
    )


MEMBERS = tuple(_agent(name, *texts) for name, texts in _TRADES.items())
MANAGER_AGENT = _agent("Amparo", "Host of the table.", "You give the floor to whom the question needs now.")
GROUP_NAMES: dict[ManagerType, str] = {"round_robin": "The bench", "dynamic": "The board"}
"""One group per manager type. The names have equal lengths, and so have the prompts."""
GROUP_CONTEXT = GroupContext(
    group_name=GROUP_NAMES["round_robin"],
    description=_DESCRIPTION,
    members=tuple(MemberProfile(name=member.name, description=member.description) for member in MEMBERS),
)


def create_manifest(manager: ManagerType, max_turns: int) -> Manifest:
    """Return all agents and the group of this manager type, whose round takes exactly `max_turns` turns."""
    rules: dict[str, Any] = {"manager_type": manager, "max_turns": max_turns, "termination_token": None}
    if manager == "dynamic":
        # Every speaker is to be the manager's choice, so that every turn costs two calls.
        rules |= {"manager_agent_id": MANAGER_AGENT.id, "starvation_turns": None}
    return Manifest(
        agents=tuple(AgentSpec.model_validate(agent.model_dump()) for agent in (*MEMBERS, MANAGER_AGENT)),
        groups=(
            GroupSpec(
                name=GROUP_NAMES[manager],
                description=_DESCRIPTION,
                agents=tuple(member.id for member in MEMBERS),
                manager_config=rules,
                settings=GroupSettings(context_messages=CONTEXT_MESSAGES),
            ),
        ),
    )
