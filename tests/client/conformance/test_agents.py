"""`Tertulia.agents` on every backend."""

import asyncio

import pytest

from tertulia import Conflict, InvalidDefinition, ModelSettings, NotFound
from tests.client.conformance.conftest import Pair, new_id

UNICODE = "Zoë 三郎 ☕ e\u0301 \U0001f600"


async def test_create_agent_with_every_field(pair: Pair) -> None:
    agent_id = new_id("velma")
    block = await pair.client.blocks.create(label="shared", value="a")
    created = await pair.client.agents.create(
        id=agent_id,
        name=UNICODE,
        instructions=f"{UNICODE}\nsecond line",
        description="détective",
        model={"model": "offline-x", "temperature": 0.5, "extra": {"top_p": 1}, "fallbacks": [{"model": "offline-y"}]},
        tags=["b", "a", "ü"],
        memory={"persona": UNICODE, "long": "x" * 30_000},
        block_ids=[block.id],
        metadata={"n": None, "list": [1, 2.5, {"ü": "☕"}]},
    )
    assert created == await pair.same(lambda client: client.agents.retrieve(agent_id))
    assert (created.id, created.name, created.tags, created.revision) == (agent_id, UNICODE, ("a", "b", "ü"), 1)
    assert [one.label for one in created.blocks] == ["persona", "long", "shared"]
    assert created.metadata == {"n": None, "list": [1, 2.5, {"ü": "☕"}]}
    assert created.model.fallbacks[0].model == "offline-y"


async def test_create_agent_with_defaults(pair: Pair) -> None:
    created, other = await pair.client.agents.create(), await pair.other.agents.create()
    assert created.model_copy(update={"id": "", "name": "", "created_at": None, "updated_at": None}) == (
        other.model_copy(update={"id": "", "name": "", "created_at": None, "updated_at": None})
    )
    assert created.name.startswith("Agent ") and created.id.startswith("agent-")
    assert created.model == ModelSettings()


async def test_agent_id_and_name_are_unique(pair: Pair) -> None:
    agent_id = new_id("one")
    await pair.client.agents.create(id=agent_id, name="Ana")
    await pair.same_error(lambda client: client.agents.create(id=agent_id, name="Ben"))
    taken = await pair.same_error(lambda client: client.agents.create(name="ANA"))
    assert isinstance(taken, Conflict)
    assert await pair.same(lambda client: client.agents.count()) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a:b"},
        {"name": "x" * 65},
        {"id": "no blanks"},
        {"instructions": "x" * 100_001},
        {"instructions": "a\0b"},
        {"model": {"temperature": 3}},
        {"model": {"unknown": 1}},
        {"memory": {"": "no label"}},
        {"tags": [""]},
    ],
)
async def test_invalid_agent_is_refused_alike(pair: Pair, fields: dict[str, object]) -> None:
    error = await pair.same_error(lambda client: client.agents.create(**fields))  # type: ignore[arg-type]
    assert isinstance(error, InvalidDefinition)
    assert await pair.same(lambda client: client.agents.count()) == 0


async def test_update_agent_fields(pair: Pair) -> None:
    first = await pair.client.agents.create(name="Ana", model={"model": "m", "temperature": 1}, tags=["x"])
    block = await pair.client.blocks.create(label="notes")
    updated = await pair.client.agents.update(
        first.id,
        name="Anna",
        instructions="New.",
        description="d",
        model="openai/o1",
        tags=["y", "z"],
        metadata={"k": 1},
        block_ids=[block.id],
        expected_revision=first.revision,
    )
    assert updated == await pair.same(lambda client: client.agents.retrieve(first.id))
    assert (updated.name, updated.instructions, updated.tags) == ("Anna", "New.", ("y", "z"))
    assert (updated.model.model, updated.model.temperature) == ("openai/o1", 1)
    assert (updated.metadata, [one.id for one in updated.blocks]) == ({"k": 1}, [block.id])
    assert updated.revision > first.revision


@pytest.mark.parametrize("field", ["name", "description", "instructions", "model", "tags", "metadata", "block_ids"])
async def test_update_agent_with_null(pair: Pair, field: str) -> None:
    values = {"description": "d", "instructions": "i", "model": {"model": "m", "temperature": 1}, "tags": ["x"]}
    results: list[object] = []
    for number, client in enumerate((pair.client, pair.other)):
        agent = await client.agents.create(name=f"A{number}", memory={"a": "b"}, metadata={"k": 1}, **values)  # type: ignore[arg-type]
        try:
            updated = await client.agents.update(agent.id, **{field: None})
        except InvalidDefinition as error:
            results.append(str(error))
        else:
            left_out = {"id", "name", "created_at", "updated_at", "blocks"}
            results.append((updated.model_dump(exclude=left_out), len(updated.blocks)))
    assert results[0] == results[1]


async def test_agent_revision_must_match(pair: Pair) -> None:
    agent = await pair.client.agents.create(name="Ana")
    await pair.other.agents.update(agent.id, description="changed")
    error = await pair.same_error(
        lambda client: client.agents.update(agent.id, description="x", expected_revision=agent.revision)
    )
    assert isinstance(error, Conflict)
    assert (await pair.same(lambda client: client.agents.retrieve(agent.id))).description == "changed"


@pytest.mark.parametrize("agent_id", ["nobody", "no blanks", "a/b", "..", "count", "é", ""])
async def test_unknown_agent_is_not_found(pair: Pair, agent_id: str) -> None:
    block = await pair.client.blocks.create(label="b")
    for call in (
        lambda client: client.agents.retrieve(agent_id),
        lambda client: client.agents.update(agent_id, name="x"),
        lambda client: client.agents.delete(agent_id),
        lambda client: client.agents.delete(agent_id, force=True),
        lambda client: client.agents.attach_block(agent_id, block.id),
        lambda client: client.agents.detach_block(agent_id, block.id),
    ):
        assert isinstance(await pair.same_error(call, same_text=False), NotFound)


async def test_find_agent_by_id_or_name(pair: Pair) -> None:
    agent = await pair.client.agents.create(id=new_id("a1"), name="Zoë B. / 三")
    for key in (agent.id, "zoë b. / 三", "Zoë B. / 三"):
        assert await pair.same(lambda client, key=key: client.agents.find(key)) == agent  # type: ignore[misc]
    assert isinstance(await pair.same_error(lambda client: client.agents.find("Zo")), NotFound)


async def test_list_agents_with_filters(pair: Pair) -> None:
    for name, tags in (("Ana", ["x"]), ("Banana", ["x", "y"]), ("Ben", ["y"]), ("50%_ü", ["ü&,="])):
        await pair.client.agents.create(name=name, tags=tags)

    async def names(**filter: object) -> list[str]:
        return [one.name for one in await pair.same(lambda client: client.agents.list(**filter))]  # type: ignore[arg-type]

    assert await names() == ["Ana", "Banana", "Ben", "50%_ü"]
    assert await names(order="desc", limit=2) == ["50%_ü", "Ben"]
    assert await names(query_text="AN") == ["Ana", "Banana"]
    assert await names(query_text="%_") == ["50%_ü"]
    assert await names(name="ana") == ["Ana"]
    assert await names(tags=["x", "y"]) == ["Ana", "Banana", "Ben"]
    assert await names(tags=["x", "y"], match_all_tags=True) == ["Banana"]
    assert await names(tags=["ü&,="]) == ["50%_ü"]
    assert await names(limit=0) == []


async def test_list_reads_more_than_one_page(pair: Pair) -> None:
    for start in range(0, 210, 30):
        await asyncio.gather(*(pair.client.agents.create(name=f"A{start + n}") for n in range(30)))
    agents = await pair.same(lambda client: client.agents.list())
    assert (
        len({one.id for one in agents}) == len(agents) == 210 == await pair.same(lambda client: client.agents.count())
    )
    assert await pair.same(lambda client: client.agents.list(limit=205, order="desc")) == agents[:4:-1]


async def test_delete_agent(pair: Pair) -> None:
    group = await pair.group("Ana", "Ben")
    ana, ben = group.group.agent_ids
    refused = await pair.same_error(lambda client: client.agents.delete(ana))
    assert isinstance(refused, Conflict) and "Table" in str(refused)
    await pair.client.agents.delete(ana, force=True)
    assert isinstance(await pair.same_error(lambda client: client.agents.retrieve(ana)), NotFound)
    assert (await pair.same(lambda client: client.groups.retrieve(group.group.id))).group.agent_ids == (ben,)
    assert isinstance(await pair.same_error(lambda client: client.agents.delete(ana, force=True)), NotFound)


async def test_attach_and_detach_agent_block(pair: Pair) -> None:
    agent = await pair.client.agents.create(memory={"a": "1"})
    block = await pair.client.blocks.create(label="b", value="2")
    attached = await pair.client.agents.attach_block(agent.id, block.id)
    assert attached == await pair.same(lambda client: client.agents.attach_block(agent.id, block.id))
    assert [one.label for one in attached.blocks] == ["a", "b"]
    same_label = await pair.client.blocks.create(label="b")
    refused = await pair.same_error(lambda client: client.agents.attach_block(agent.id, same_label.id))
    assert isinstance(refused, Conflict)
    missing = await pair.same_error(lambda client: client.agents.attach_block(agent.id, "block-none"))
    assert isinstance(missing, NotFound)
    detached = await pair.client.agents.detach_block(agent.id, block.id)
    assert detached == await pair.same(lambda client: client.agents.retrieve(agent.id))
    again = await pair.same_error(lambda client: client.agents.detach_block(agent.id, block.id))
    assert isinstance(again, NotFound)
