"""Agents and organisations for one test."""

from tertulia.core.agents import Agent
from tertulia.core.ids import DEFAULT_ORGANISATION, OrganisationId
from tertulia.core.organisations import NewOrganisation
from tertulia.store.agents import save_agent
from tertulia.store.database import Database
from tertulia.store.organisations import create_organisation
from tests.store.harness import unique_id


def new_agent(**fields: object) -> Agent:
    name = unique_id("Agent")
    return Agent.model_validate({"id": name.lower(), "name": name, **fields})


async def save_agents(database: Database, count: int) -> list[Agent]:
    made = [new_agent() for _ in range(count)]
    for agent in made:
        await save_agent(database, DEFAULT_ORGANISATION, agent)
    return made


async def new_organisation(database: Database) -> OrganisationId:
    """Create an organisation that no other test uses."""
    name = unique_id("org")
    return (await create_organisation(database, NewOrganisation(id=name, name=name))).id
