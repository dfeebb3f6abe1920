"""Prompts: the front stays from one call of an agent to its next; only the end grows."""

from itertools import takewhile

from tertulia.core.agents import Agent
from tertulia.core.blocks import MemoryBlock
from tertulia.core.context_window import compute_window
from tertulia.core.ids import AgentId
from tertulia.core.prompt import (
    ChatMessage,
    GroupContext,
    MemberProfile,
    TranscriptMessage,
    build_manager_prompt,
    build_member_prompt,
)

VELMA = Agent(
    id=AgentId("a1"),
    name="Velma",
    instructions="You solve riddles.",
    memory=(MemoryBlock(label="Own notes", value="lost my glasses"), MemoryBlock(label="Empty")),
)
GROUP_CONTEXT = GroupContext(
    group_name="Mystery",
    description="We look into odd things.",
    members=(
        MemberProfile(name="Velma", description="solves riddles", tags=("clever", "short-sighted")),
        MemberProfile(name="Fred Jones"),
        MemberProfile(name="Daphne", tags=("brave",)),
    ),
    shared_memory=(MemoryBlock(label="Case", value="the old mill"),),
)


def message_from(sender: str, text: str, sender_id: str | None = None) -> TranscriptMessage:
    return TranscriptMessage(sender_id=sender_id, sender=sender, text=text)


TRANSCRIPT = [
    message_from("User", "Who was it?"),
    message_from("Velma", "I see a footprint.", "a1"),
    message_from("Fred Jones", "Let's split up.", "a2"),
    message_from("Velma", "another Velma", "a9"),
]


def prompt(messages: list[TranscriptMessage] = TRANSCRIPT, tokens: tuple[str, ...] = ("DONE!",)) -> list[ChatMessage]:
    return build_member_prompt(VELMA, GROUP_CONTEXT, messages, tokens)


def test_prompt_roles_and_names() -> None:
    assert prompt()[1:-1] == [
        {"role": "user", "content": "User: Who was it?", "name": "User"},
        {"role": "assistant", "content": "I see a footprint."},
        {"role": "user", "content": "Fred Jones: Let's split up."},
        {"role": "user", "content": "Velma: another Velma", "name": "Velma"},
    ]


def test_prompt_name_field_only_if_valid() -> None:
    for name in ("Fred Jones", "Ünal", "a.b", "名前", "x" * 65):
        message = prompt([message_from(name, "hi", "a2")])[1]
        assert "name" not in message
        assert message["content"] == f"{name}: hi"
    assert prompt([message_from("Fred_Jones-2", "hi", "a2")])[1].get("name") == "Fred_Jones-2"


def test_system_message_parts_in_order() -> None:
    system = prompt(tokens=("DONE!", "BASTA"))[0]
    assert system["role"] == "system"
    text = system["content"]
    parts = [
        "You solve riddles.",
        "You are Velma in the group 'Mystery'.",
        "We look into odd things.",
        "- Velma: solves riddles\n",
        "- Fred Jones\n",
        "- Daphne\n",
        "Case:\nthe old mill",
        "Own notes:\nlost my glasses",
        "single word PASS",
        "say DONE!",
        "say BASTA",
    ]
    places = [text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)
    assert "Empty" not in text


def test_prompt_without_token_promises_none() -> None:
    assert "is done, say" not in prompt(tokens=())[0]["content"]


def test_prompt_without_instructions_has_name() -> None:
    bare = Agent(id=AgentId("a3"), name="Daphne")
    assert build_member_prompt(bare, GROUP_CONTEXT, [], ())[0]["content"].startswith("You are Daphne.")


def test_prompt_ends_with_turn_request() -> None:
    assert prompt()[-1] == {"role": "user", "content": "It is your turn, Velma."}


def test_manager_prompt_lists_candidates() -> None:
    asked = build_manager_prompt(VELMA, GROUP_CONTEXT, TRANSCRIPT, ["Velma", "Fred Jones"])
    assert [message["role"] for message in asked] == ["system", "user", "user", "user", "user", "user"]
    assert asked[2]["content"] == "Velma: I see a footprint."
    assert asked[-1]["content"] == "Who speaks next? You can choose: Velma, Fred Jones."
    assert "do not speak in it" in asked[0]["content"]


def test_manager_prompt_lists_descriptions_and_tags() -> None:
    system = build_manager_prompt(VELMA, GROUP_CONTEXT, TRANSCRIPT, ["Velma"])[0]["content"]
    lines = ["- Velma: solves riddles; tags: clever, short-sighted", "- Fred Jones", "- Daphne: tags: brave"]
    assert "Here now:\n" + "\n".join(lines) + "\n" in system


def common_prefix(one: str, other: str) -> str:
    """Return the common start of both texts."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in pairs)


def test_prompt_prefix_is_mostly_cached() -> None:
    """The share of characters of a prompt that a provider has cached, over a long conversation of four."""
    names = ("Velma", "Fred", "Daphne", "Shaggy")
    transcript = [message_from(names[seq % 4], f"words number {seq} " * 12, f"a{1 + seq % 4}") for seq in range(400)]
    before, shares = "", []
    for last_seq in range(0, 400, 4):
        chars = sum(len(one.text) for one in transcript[:last_seq])
        view = compute_window(last_seq, chars, max_messages=40, max_tokens=16_000)
        now = "\n".join(str(message) for message in prompt(transcript[view.after_seq : last_seq])[:-1])
        shares.append(len(common_prefix(before, now)) / len(now))
        before = now
    warm = shares[10:]
    assert sum(warm) / len(warm) > 0.65
    assert sum(share > 0.8 for share in warm) / len(warm) > 0.75
    assert min(warm) > 0, "the system message stays even when the window moves"


def test_prompt_grows_only_at_the_end() -> None:
    longer = [*TRANSCRIPT, message_from("Fred Jones", "new", "a2")]
    assert prompt(longer)[: len(prompt()) - 1] == prompt()[:-1]


def test_conclusion_is_only_at_prompt_end() -> None:
    reason = "sums up: the conversation has used 12 tokens of 10"
    last = build_member_prompt(VELMA, GROUP_CONTEXT, TRANSCRIPT, ("DONE!",), conclude=reason)
    assert last[:-1] == prompt()[:-1]
    assert prompt()[-1]["content"] == "It is your turn, Velma."
    assert last[-1]["content"].startswith(f"It is your turn, Velma. It is the last one ({reason}): sum up")
