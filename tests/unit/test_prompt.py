"""Law of the prompt: its front stays from one call of an agent to its next; only the end grows."""

from itertools import takewhile

from tertulia.core.agents import Agent
from tertulia.core.blocks import MemoryBlock
from tertulia.core.context_window import compute_window
from tertulia.core.ids import AgentId
from tertulia.core.prompt import ChatMessage, GroupContext, TranscriptMessage, build_manager_prompt, build_member_prompt

VELMA = Agent(
    id=AgentId("a1"),
    name="Velma",
    instructions="You solve riddles.",
    memory=(MemoryBlock(label="Own notes", value="lost my glasses"), MemoryBlock(label="Empty")),
)
COMPANY = GroupContext(
    group_name="Mystery",
    description="We look into odd things.",
    members=(("Velma", "solves riddles"), ("Fred Jones", "")),
    shared_memory=(MemoryBlock(label="Case", value="the old mill"),),
)


def said(sender: str, text: str, sender_id: str | None = None) -> TranscriptMessage:
    return TranscriptMessage(sender_id=sender_id, sender=sender, text=text)


HEARD = [
    said("User", "Who was it?"),
    said("Velma", "I see a footprint.", "a1"),
    said("Fred Jones", "Let's split up.", "a2"),
    said("Velma", "another Velma", "a9"),
]


def prompt(heard: list[TranscriptMessage] = HEARD, tokens: tuple[str, ...] = ("DONE!",)) -> list[ChatMessage]:
    return build_member_prompt(VELMA, COMPANY, heard, tokens)


def test_others_are_users_with_their_name_in_the_text_and_ones_own_words_are_the_assistants() -> None:
    assert prompt()[1:-1] == [
        {"role": "user", "content": "User: Who was it?", "name": "User"},
        {"role": "assistant", "content": "I see a footprint."},
        {"role": "user", "content": "Fred Jones: Let's split up."},
        {"role": "user", "content": "Velma: another Velma", "name": "Velma"},
    ]


def test_a_name_that_the_api_does_not_take_stands_in_the_text_alone() -> None:
    for name in ("Fred Jones", "Ünal", "a.b", "名前", "x" * 65):
        message = prompt([said(name, "hi", "a2")])[1]
        assert "name" not in message
        assert message["content"] == f"{name}: hi"
    assert prompt([said("Fred_Jones-2", "hi", "a2")])[1].get("name") == "Fred_Jones-2"


def test_the_system_message_tells_who_one_is_who_is_here_and_the_rules() -> None:
    system = prompt(tokens=("DONE!", "BASTA"))[0]
    assert system["role"] == "system"
    text = system["content"]
    parts = [
        "You solve riddles.",
        "You are Velma in the group 'Mystery'.",
        "We look into odd things.",
        "- Velma: solves riddles",
        "- Fred Jones\n",
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


def test_without_a_token_no_word_is_promised_to_end_the_round() -> None:
    assert "is done, say" not in prompt(tokens=())[0]["content"]


def test_an_agent_without_instructions_is_told_its_name() -> None:
    bare = Agent(id=AgentId("a3"), name="Daphne")
    assert build_member_prompt(bare, COMPANY, [], ())[0]["content"].startswith("You are Daphne.")


def test_the_turn_is_given_by_name_at_the_end() -> None:
    assert prompt()[-1] == {"role": "user", "content": "It is your turn, Velma."}


def test_a_manager_reads_everyone_as_others_and_is_asked_among_the_candidates() -> None:
    asked = build_manager_prompt(VELMA, COMPANY, HEARD, ["Velma", "Fred Jones"])
    assert [message["role"] for message in asked] == ["system", "user", "user", "user", "user", "user"]
    assert asked[2]["content"] == "Velma: I see a footprint."
    assert asked[-1]["content"] == "Who speaks next? You can choose: Velma, Fred Jones."
    assert "do not speak in it" in asked[0]["content"]


def same_front(one: str, other: str) -> str:
    """What both begin with."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return "".join(letter for letter, _ in pairs)


def test_most_of_a_prompt_is_the_same_as_in_the_agents_last_call() -> None:
    """Measured over a long conversation of four: the share of a prompt, by characters, that a provider has cached."""
    names = ("Velma", "Fred", "Daphne", "Shaggy")
    transcript = [said(names[seq % 4], f"words number {seq} " * 12, f"a{1 + seq % 4}") for seq in range(400)]
    before, shares = "", []
    for last_seq in range(0, 400, 4):
        chars = sum(len(one.text) for one in transcript[:last_seq])
        view = compute_window(last_seq, chars, max_messages=40, max_tokens=16_000)
        now = "\n".join(str(message) for message in prompt(transcript[view.after_seq : last_seq])[:-1])
        shares.append(len(same_front(before, now)) / len(now))
        before = now
    warm = shares[10:]
    assert sum(warm) / len(warm) > 0.65
    assert sum(share > 0.8 for share in warm) / len(warm) > 0.75
    assert min(warm) > 0, "the system message stays even when the window moves"


def test_between_two_moves_of_the_window_only_the_end_of_a_prompt_grows() -> None:
    longer = [*HEARD, said("Fred Jones", "new", "a2")]
    assert prompt(longer)[: len(prompt()) - 1] == prompt()[:-1]


def test_the_last_speaker_is_told_so_at_the_end_of_its_prompt_and_nowhere_else() -> None:
    reason = "sums up: the conversation has used 12 tokens of 10"
    last = build_member_prompt(VELMA, COMPANY, HEARD, ("DONE!",), conclude=reason)
    assert last[:-1] == prompt()[:-1]
    assert prompt()[-1]["content"] == "It is your turn, Velma."
    assert last[-1]["content"].startswith(f"It is your turn, Velma. It is the last one ({reason}): sum up")
