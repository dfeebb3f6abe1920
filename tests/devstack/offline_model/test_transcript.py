"""The offline model parses prompts: names, rosters, directives, senders from outside."""

import pytest

from tertulia.devstack.offline_model.directives import Directives, parse_directives
from tertulia.devstack.offline_model.phrases import FALLBACK_TOPIC, find_action, find_quotations, find_topic
from tertulia.devstack.offline_model.protocol import ChatRequest
from tertulia.devstack.offline_model.system_prompt import parse_system_prompt
from tertulia.devstack.offline_model.transcript import parse_conversation
from tertulia.devstack.offline_model.voices import find_voice, voices


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("You are Velma, a sceptical economist.", "Velma"),
        ("You are Rosa María the archivist. Be brief.", "Rosa María"),
        ("Be kind.\nYour name is Agent-7.", "Agent-7"),
        ("You are in a group conversation. You are velma.", "velma"),
        ("You are a helpful assistant.", None),
        ("Rules.\nIt is your turn, Tomas.", "Tomas"),
    ],
)
def test_system_prompt_own_name(prompt: str, name: str | None) -> None:
    assert parse_system_prompt(prompt).own_name == name


@pytest.mark.parametrize(
    "listing",
    [
        "Here now: Velma, Tomas and Rosa",
        "Who is here: Velma (sceptical economist), Tomas (cook, retired), Rosa.",
        "## Participants:\n- Velma: a sceptical economist\n- **Tomas** — a cook\n- Rosa",
        "Members:\n1. Velma (you)\n2. Tomas - cooks: well\n3. Rosa",
        "- Velma: a sceptical economist\n- Tomas: a cook\n- Rosa: a historian",
    ],
)
def test_system_prompt_roster_formats(listing: str) -> None:
    system_prompt = parse_system_prompt(f"You are Velma, an economist.\n{listing}\n\nRules: you may pass.")

    assert list(system_prompt.roster) == ["Velma", "Tomas", "Rosa"]


def test_system_prompt_roles_of_others() -> None:
    system_prompt = parse_system_prompt(
        "You are Velma, an economist.\nHere now:\n- Tomas: a cook\n- Velma: an economist"
    )

    assert system_prompt.roster["Tomas"] == "a cook"
    voice = find_voice(system_prompt.persona)
    assert voice is not None and voice.name == "economist"
    tagged = parse_system_prompt(
        "You are Host.\nHere now:\n- Tomas: a cook; tags: fish, soup\n- Rosa: tags: law\n- Velma"
    )
    assert tagged.roster == {"Tomas": "a cook; tags: fish, soup", "Rosa": "tags: law", "Velma": ""}
    quiet = parse_system_prompt("You are Velma, who says little.\nHere now:\n- Tomas: a cook\n- Velma")
    assert find_voice(quiet.persona) is None


@pytest.mark.parametrize(
    ("description", "name"),
    [("a sceptical economist", "economist"), ("a sceptic", "sceptic"), ("retired nurses' union lawyer", "physician")],
)
def test_voice_prefers_trade_over_temper(description: str, name: str) -> None:
    voice = find_voice(description)

    assert voice is not None and voice.name == name


def test_voices_have_full_stock() -> None:
    everything = [line.template for voice in voices().values() for line in (*voice.arguments, *voice.stories)]

    assert len(voices()) >= 15
    assert len(everything) == len(set(everything))
    assert all(len(line.marker) > 10 for voice in voices().values() for line in voice.arguments)


@pytest.mark.parametrize(
    ("instructions", "directives"),
    [
        ("Finish after about six turns.", Directives(finish_after=6)),
        ("After at most 12 messages, close the talk.", Directives(finish_after=12)),
        ("Say DONE! after 4 turns.", Directives(finish_after=4, say_after=("DONE!", 4))),
        ("After three messages, please end with the word 'BASTA'.", Directives(finish_after=3, say_after=("BASTA", 3))),
        ("Pass after two turns.", Directives(finish_after=2, pass_after=2)),
        ("Answer PASS after 2 turns.", Directives(finish_after=2, pass_after=2)),
        ("When the group has finished, say DONE! and nothing else. You may pass.", Directives()),
        ("After 12 turns the round ends; to finish earlier say DONE!", Directives(finish_after=12)),
    ],
)
def test_directives_ignore_mere_mentions(instructions: str, directives: Directives) -> None:
    assert parse_directives(instructions) == directives


def test_transcript_distinguishes_speakers() -> None:
    conversation = parse_conversation(
        _request(
            ("system", "You are Velma.\nHere now: Velma, Tomas, Rosa"),
            ("user", "User: Shall we: yes or no?"),
            ("user", "Tomas: Yes."),
            ("assistant", "Perhaps."),
            ("user", "Bruno: I have left since."),
            ("system", "Bruno left."),
            ("user", "It is your turn, Velma."),
        )
    )

    assert [(said.speaker, said.origin) for said in conversation.utterances] == [
        ("User", "outside"),
        ("Tomas", "member"),
        ("Velma", "self"),
        ("Bruno", "member"),
    ]
    assert conversation.messages_since_outside == 3
    assert conversation.others == ("Tomas", "Rosa")
    assert conversation.subject == "Shall we: yes or no?"


def test_transcript_colon_is_not_a_name() -> None:
    conversation = parse_conversation(_request(("user", "Here is what I want to know: who wins?")))

    assert conversation.utterances[0].speaker == ""
    assert conversation.utterances[0].text.startswith("Here is")


@pytest.mark.parametrize(
    ("question", "topic", "deed"),
    [
        ("Should our town close its main square to cars?", "the main square", "close the main square to cars"),
        ("What makes a good city?", "a good city", ""),
        ("What would it take for people to trust machines?", "machines", "trust machines"),
        ("Is it worth learning to cook in an age of takeaway?", "the age of takeaway", "cook in an age of takeaway"),
        ("Is remote work good for young people?", "remote work", ""),
        ("Say DONE! now", FALLBACK_TOPIC, ""),
        ("", FALLBACK_TOPIC, ""),
    ],
)
def test_topic_is_found_in_question(question: str, topic: str, deed: str) -> None:
    assert find_topic(question) == topic
    assert find_action(question) == deed


def test_quotations_are_thoughts_only() -> None:
    words = (
        "Rosa has a point there. 'Old words': I would sign that. Roots go first. Would it hold? Say DONE! I like it so."
    )
    whole, _, personal = find_quotations(words, frozenset({"rosa"}))

    assert [quotation.words for quotation in whole] == ["roots go first"]
    assert [quotation.words for quotation in personal] == ["I like it so"]
    assert not any(find_quotations("Do roots go first, or do the leaves?", frozenset()))
    assert not any(find_quotations("'Roots go first': the ground decides that", frozenset()))


def _request(*messages: tuple[str, str]) -> ChatRequest:
    return ChatRequest.model_validate(
        {"model": "m", "messages": [{"role": role, "content": content} for role, content in messages]}
    )
