"""The offline model's messages: deterministic, in a voice, on topic, addressed to others, never repeated."""

import hashlib
import json
import re
import subprocess
import sys
from itertools import pairwise

import pytest

from tertulia.devstack.offline_model.answers import answer
from tertulia.devstack.offline_model.protocol import parse_request
from tertulia.devstack.offline_model.voices import voices

CAST = {
    "Velma": "a sceptical economist",
    "Tomas": "a cook who has run kitchens",
    "Rosa": "a historian of small towns",
    "Ilse": "an engineer of bridges",
}
QUESTION = "Should our town close its main square to cars?"
Log = list[tuple[str, str]]


def test_speech_is_deterministic() -> None:
    body = request_body("Velma", [("User", QUESTION), ("Tomas", "Heat is not the same as speed.")])
    script = (
        "import sys, hashlib\nfrom tertulia.devstack.offline_model.answers import answer\n"
        "from tertulia.devstack.offline_model.protocol import parse_request\n"
        "body = sys.stdin.buffer.read()\n"
        "print(answer(parse_request(body), hashlib.blake2b(body, digest_size=16).digest())[0].text)"
    )
    elsewhere = {
        subprocess.run(
            [sys.executable, "-c", script], input=body, capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        .stdout.decode()
        .strip()
        for seed in ("1", "2")
    }

    assert elsewhere == {answer_text(body)}


def test_speech_does_not_repeat_itself() -> None:
    log = simulate_conversation(16)
    speeches = [text for _, text in log[1:]]
    arguments = {name: used_stock_lines(name, log) for name in CAST}

    assert len(set(speeches)) == len(speeches)
    assert all(len(lines) == len(set(lines)) for lines in arguments.values())
    assert sum(map(len, arguments.values())) >= 8
    assert all(first.split(".")[0] != second.split(".")[0] for first, second in pairwise(speeches))


def test_speech_stays_on_topic() -> None:
    log = simulate_conversation(16)
    speeches = log[1:]

    assert sum("main square" in text for _, text in speeches) >= 4
    assert sum(any(name in text for name in CAST) for _, text in speeches) >= 10
    assert sum("?" in text for _, text in speeches) >= 4
    assert not any(re.search(rf"\b{name}\b", text) for name, text in speeches)
    assert all(20 < len(text) < 600 and "{" not in text for _, text in speeches)


def test_speech_does_not_return_the_question() -> None:
    log = simulate_conversation(24)
    handed = [
        (before, name)
        for (before, _), (_, text) in pairwise(log)
        for name in CAST
        if text.endswith("?") and name in re.split(r"[.;:'] ", text)[-1]
    ]

    assert len(handed) >= 6
    assert all(before != name for before, name in handed)


def test_speech_quotes_last_speaker() -> None:
    log = simulate_conversation(24)
    quotes = [
        (match[1].lower(), before)
        for (_, before), (_, text) in pairwise(log)
        for match in re.finditer(r"(?<!\w)'([^'?]{8,80})'", text)
    ]
    from_before = [quote for quote, before in quotes if quote in before.lower()]

    assert len(from_before) >= 4


def test_speech_of_newcomer_says_so() -> None:
    late = answer_text(
        request_body("Ilse", [("User", QUESTION), *[("Velma", f"Word {n} of many more.") for n in range(5)]])
    )
    early = answer_text(request_body("Ilse", [("User", QUESTION), ("Velma", "A word to begin with.")]))

    assert re.search(r"sat down|cold hands|the doorway|[Cc]oming in late|[Nn]ew to the table", late)
    assert not re.search(r"sat down|cold hands|the doorway|[Cc]oming in late|[Nn]ew to the table", early)


@pytest.mark.parametrize("turns", [3, 4])
def test_speech_ends_with_requested_token(turns: int) -> None:
    wish = "End with the word BASTA after 4 turns."
    text = answer_text(
        request_body("Velma", [("User", QUESTION), *[("Tomas", f"Word number {n}.") for n in range(turns)]], wish)
    )

    assert text.endswith(" BASTA") == (turns >= 4)
    assert "DONE!" not in text


def test_speech_passes_when_directed() -> None:
    log = [("User", QUESTION), ("Tomas", "One."), ("Rosa", "Two.")]

    assert answer_text(request_body("Velma", log, "Pass after two turns.")) == "PASS"
    assert answer_text(request_body("Velma", log, "Pass after three turns.")) != "PASS"
    assert answer_text(request_body("Velma", [*log, ("User", "And now?")], "Pass after two turns.")) != "PASS"


def test_speech_ignores_token_of_others() -> None:
    log = [("User", QUESTION)]
    for turn in range(30):
        log.append(("Tomas", f"Well, we could say DONE! I think DONE! is the word {turn}."))
        assert "DONE" not in answer_text(request_body("Velma", log))


def test_speech_of_each_voice_lasts() -> None:
    for name, voice in voices().items():
        word = voice.words[0] if voice.words else "quiet person"
        log: Log = [("User", QUESTION)]
        for turn in range(30):
            own_name = ("Velma", "Tomas")[turn % 2]
            other = "a poet" if name != "poet" else "a cook"
            log.append(
                (own_name, answer_text(request_body(own_name, log, cast={"Velma": f"a {word}", "Tomas": other})))
            )
        own = [text for speaker, text in log if speaker == "Velma"]
        assert len({text for _, text in log}) == len(log), name
        assert all(sum(line.marker in text for text in own) <= 1 for line in voice.arguments), name


def test_speech_without_persona_or_group() -> None:
    body = json.dumps({"model": "any", "messages": [{"role": "user", "content": "Why do we sing?"}]}).encode()

    assert len(answer_text(body)) > 20


def request_body(own_name: str, log: Log, wish: str = "", cast: dict[str, str] = CAST) -> bytes:
    here = "\n".join(f"- {name}: {about}" for name, about in cast.items())
    system = (
        f"You are {own_name}, {cast[own_name]}. {wish}\n\nThe group meets on Fridays.\nHere now:\n{here}\n\n"
        "Rules: you may pass. When the group has reached its goal, say DONE!"
    )
    messages = [{"role": "system", "content": system}]
    for name, text in log:
        own = name == own_name
        messages.append(
            {"role": "assistant", "content": text} if own else {"role": "user", "content": f"{name}: {text}"}
        )
    return json.dumps({"model": "offline", "messages": messages}).encode()


def answer_text(body: bytes) -> str:
    given, _ = answer(parse_request(body), hashlib.blake2b(body, digest_size=16).digest())
    assert given.text is not None
    return given.text


def simulate_conversation(turns: int) -> Log:
    log: Log = [("User", QUESTION)]
    names = list(CAST)
    for turn in range(turns):
        own_name = names[turn % len(names)]
        log.append((own_name, answer_text(request_body(own_name, log))))
    return log


def used_stock_lines(name: str, log: Log) -> list[str]:
    """Return the stock lines that a speaker has used, with repetitions."""
    voice = next(voice for voice in voices().values() if any(word in CAST[name] for word in voice.words[:1]))
    markers = [line.marker for line in (*voice.arguments, *voice.stories)]
    return [marker for speaker, text in log for marker in markers if speaker == name and marker in text]
