"""The language gate: right, wrong or unchecked, and in doubt never wrong."""

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import yaml
from generating import DUTCH, ENGLISH  # puts the project on the path
from hypothesis import given
from hypothesis import strategies as st
from kto.ask.language import UNCHECKED, Gate, LanguageCheck
from kto.pages import whole_text
from rendering import LANGUAGES, REPOSITORY, TEMPLATE

CATALOGUES = {
    tag: yaml.load((REPOSITORY / "languages" / f"{tag}.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    for tag in LANGUAGES
}
GATES = {tag: Gate(tag, catalogue["language"]["script"]) for tag, catalogue in CATALOGUES.items()}
OTHERS = [tag for tag in LANGUAGES if tag != "en"]
ALIKE = [{"hr", "sr", "sr-Latn"}, {"id", "ms"}, {"ar", "arz"}, {"pt", "pt-BR"}]
"""Languages that nobody tells apart from a text of this length, or that the identifier takes for one."""


def questions(tag: str, length: int = 300) -> Iterator[str]:
    """Starter prompts joined to about this many characters; fewer where a character says more."""
    length = length // 2 if tag in ("ja", "ko", "zh-Hans", "zh-Hant") else length
    joined = ""
    for prompt in CATALOGUES[tag]["starter_prompts"]:
        joined = f"{joined} {prompt}".strip()
        if len(joined) >= length:
            yield joined
            joined = ""


def verdict(tag: str, answer: str, prompt: str = "") -> str:
    return GATES[tag].check(answer, prompt).verdict


@pytest.mark.parametrize("tag", LANGUAGES)
def test_every_catalogue_is_in_its_own_language(tag: str) -> None:
    assert GATES[tag].supported
    pieces = list(questions(tag))
    assert len(pieces) > 2
    assert [verdict(tag, piece) for piece in pieces] == ["right"] * len(pieces)
    guidelines = whole_text(CATALOGUES[tag], "task.guidelines", {"language"})  # Markdown with a table
    assert verdict(tag, guidelines.replace("{language}", "")) == "right"


@pytest.mark.parametrize("tag", OTHERS)
def test_english_is_wrong_for_the_others(tag: str) -> None:
    for piece in questions("en"):
        judged = GATES[tag].check(piece)
        assert (judged.verdict, judged.language) == ("wrong", "en")
        assert 0.6 <= judged.score <= 1


@pytest.mark.parametrize("tag", LANGUAGES)
def test_another_language_is_never_right(tag: str) -> None:
    for other in LANGUAGES:
        if other != tag and not any({tag, other} <= alike for alike in ALIKE):
            assert verdict(tag, next(questions(other))) != "right", other


@pytest.mark.parametrize("tag", LANGUAGES)
def test_most_other_languages_are_wrong(tag: str) -> None:
    others = [other for other in LANGUAGES if other != tag and not any({tag, other} <= alike for alike in ALIKE)]
    assert sum(verdict(tag, next(questions(other))) == "wrong" for other in others) >= 0.85 * len(others)


@pytest.mark.parametrize("tag", OTHERS)
def test_a_sentence_in_english_is_no_reason_to_ask_again(tag: str) -> None:
    right = list(questions(tag))
    assert verdict(tag, f"Sure! Here is a short answer to your question:\n\n{right[0]}") == "right"
    assert verdict(tag, f"{right[0]}\n\n{right[1]}\n\nLet me know if you want to know more!") == "right"


@pytest.mark.parametrize("tag", OTHERS)
def test_a_sentence_in_the_right_language_does_not_save_an_answer(tag: str) -> None:
    greeting = next(questions(tag, 30))
    assert verdict(tag, f"{greeting}\n\n{ENGLISH}\n\n{next(questions('en'))}\n\n{ENGLISH}") != "right"


@pytest.mark.parametrize("tag", LANGUAGES)
def test_short_answers_are_unchecked(tag: str) -> None:
    for answer in ("", "OK.", "42", "👍", "Amsterdam", "中文", "…", "1. \n2. \n3. "):
        assert GATES[tag].check(answer) == UNCHECKED


@pytest.mark.parametrize(
    "foreign",
    [
        f"```\n{ENGLISH}\n```",
        f"```text\n{ENGLISH}",
        f"~~~\n{ENGLISH}\n~~~",
        f"`{ENGLISH}`",
        f"> {ENGLISH}\n> {ENGLISH}",
        f"“{ENGLISH}”",
        f'"{ENGLISH}"',
        f"«{ENGLISH}»",
        f"„{ENGLISH}“",
        f"「{ENGLISH}」",
        '{"answer": "The steam makes the syrup soft again", "score": [1, 2, 3]}',
        "<p class='very long name of a class'></p>" * 9,
        "https://example.org/the/steam/makes/the/syrup/soft/again?and=then&you=can " * 5,
        "somebody.with.a.long.name@example.org, somebody.else@example.org; " * 5,
        "12 345 678,90 € + 3 = 7 × 8 % 🙂🙃🙂 " * 9,
    ],
)
def test_code_quotations_and_addresses_do_not_count(foreign: str) -> None:
    assert GATES["nl"].check(foreign) == UNCHECKED
    assert verdict("nl", f"{DUTCH}\n\n{foreign}") == "right"
    assert verdict("nl", f"{foreign}\n\n{DUTCH}") in (
        "right",
        "unchecked" if foreign.startswith("```text") else "right",
    )
    if not foreign.startswith("```text"):  # what is never closed goes on to the end
        assert verdict("nl", f"{foreign}\n\n{ENGLISH}") == "wrong"


def test_an_apostrophe_or_a_lone_quotation_mark_hides_nothing() -> None:
    assert verdict("nl", f"It's the tourists' \"choice: {ENGLISH}") == "wrong"
    assert verdict("he", 'ארה״ב ודו"ח וצה"ל: ' + next(questions("he"))) == "right"


def test_words_of_the_prompt_do_not_count() -> None:
    prompt = f"Wat betekent dit? {ENGLISH}"
    assert verdict("nl", ENGLISH) == "wrong"
    assert verdict("nl", ENGLISH, prompt) == "unchecked"
    assert verdict("nl", f"{ENGLISH}\n\n{DUTCH}", prompt) == "right"
    assert verdict("am", ENGLISH, prompt) == "unchecked"
    chinese = next(questions("zh-Hans"))
    assert (verdict("ja", chinese), verdict("ja", chinese, f"翻訳してください。{chinese}")) == ("wrong", "unchecked")
    assert verdict("nl", f"{ENGLISH} {next(questions('en'))}", "Wat kan ik koken?") == "wrong"


def test_names_are_in_no_language() -> None:
    names = "\n".join(
        ["The Shawshank Redemption", "Gone With The Wind", "The Good The Bad And The Ugly", "Pulp Fiction"]
    )
    assert verdict("nl", names) != "wrong"
    assert verdict("am", names) != "wrong"
    assert verdict("ja", "北海道、東京都、大阪府、京都府、神奈川県、福岡県、愛知県、沖縄県、長野県、静岡県") != "wrong"


@pytest.mark.parametrize("tag", ["am", "hi", "ar", "ru", "el", "ko", "ja", "zh-Hans", "th", "ka"])
def test_romanised_text_is_wrong(tag: str) -> None:
    roman = "mujhe lagta hai ki yeh sabse accha tarika hai aur aap isko ghar par bhi aasani se kar sakte hain "
    assert verdict(tag, roman) == "wrong"


def test_a_language_in_its_other_script() -> None:
    cyrillic, latin = next(questions("sr")), next(questions("sr-Latn"))
    assert verdict("sr", latin) != "wrong"
    assert verdict("sr-Latn", cyrillic) != "wrong"
    assert verdict("sr", next(questions("ru"))) == "wrong"
    assert verdict("sr-Latn", next(questions("ru"))) != "right"
    assert Gate("uz", "Cyrl").supported is False
    uzbek = "Бу савол жуда муҳим, шунинг учун мен сизга батафсил жавоб бераман ва мисоллар келтираман, албатта."
    assert verdict("uz", uzbek) != "wrong"


def test_chinese_and_japanese() -> None:
    assert GATES["zh-Hans"].check(next(questions("zh-Hant"))).language == "zh-Hant"
    assert GATES["zh-Hant"].check(next(questions("zh-Hans"))).language == "zh-Hans"
    for tag, other in itertools.permutations(["zh-Hans", "zh-Hant", "ja", "ko"], 2):
        assert verdict(tag, next(questions(other))) == "wrong"


@pytest.mark.parametrize(
    ("tag", "script"),
    [
        *[("wo", "Latn"), ("tlh", "Latn"), ("yi", "Hebr"), ("ti", "Ethi"), ("yue", "Hant"), ("hi", "Latn")],
        *[("en", "Shaw"), ("und", "Zzzz"), ("x-own", "Latn"), ("", "")],
    ],
)
def test_what_the_identifier_does_not_know_is_unchecked(tag: str, script: str) -> None:
    gate = Gate(tag, script)
    assert not gate.supported
    assert {gate.check(answer, "?") for answer in (ENGLISH, DUTCH, *questions("am"))} == {UNCHECKED}


@pytest.mark.parametrize(("tag", "script"), [("yo", "Latn"), ("cy", "Latn"), ("en-GB", "Latn"), ("PT_br", "Latn")])
def test_tags_without_a_catalogue(tag: str, script: str) -> None:
    gate = Gate(tag, script)
    assert gate.supported
    assert gate.check(DUTCH).verdict == "wrong"


def test_the_name_says_what_the_verdict_depends_on() -> None:
    names = [gate.name for gate in GATES.values()]
    assert len(set(names)) == len(names)
    assert all(name.startswith("py3langid ") for name in names)
    assert Gate("nl", "Latn").name == GATES["nl"].name


@given(st.sampled_from(LANGUAGES), st.text(st.characters()), st.text(st.characters()))
def test_every_text_gets_a_judgement(tag: str, answer: str, prompt: str) -> None:
    judged = GATES[tag].check(answer, prompt)
    assert judged == GATES[tag].check(answer, prompt)
    assert judged.verdict in ("right", "wrong", "unchecked")
    assert 0 <= judged.score <= 1
    assert judged.verdict != "unchecked" or judged == UNCHECKED or judged.language


@given(st.sampled_from(LANGUAGES), st.data())
def test_its_own_sentences_in_any_order_with_anything_between_are_not_wrong(tag: str, data: st.DataObject) -> None:
    prompts = data.draw(st.lists(st.sampled_from(CATALOGUES[tag]["starter_prompts"]), min_size=1, max_size=12))
    between = data.draw(
        st.sampled_from(["\n", "\n\n- ", " ", "\n1. **", "\n\n```py\nprint('hello world')\n```\n", " 🙂 "])
    )
    assert verdict(tag, between.join(prompts)) != "wrong"


@pytest.mark.parametrize(
    "hostile",
    [
        *[
            "a",
            "`",
            '"',
            "<",
            "“",
            "“a",
            "> ",
            "a@",
            "a_",
            "&a",
            "\ud800",
            "\0",
            "\u202e",
            "\u200f.",
            "\u0301",
            "á\u0327",
        ],
        *["a\n", "\n", " ", "abc ", "é", "中", "कि", "1", "```\n", "]((", "(("],
    ],
)
@pytest.mark.parametrize("tag", ["nl", "hi", "ja", "zh-Hant", "sr"])
def test_hostile_text_takes_no_time(tag: str, hostile: str) -> None:
    text = hostile * (10_000_000 // len(hostile))
    GATES[tag].check(DUTCH)  # load the identifier
    start = time.perf_counter()
    judged = GATES[tag].check(text, text)
    assert time.perf_counter() - start < 0.5
    assert isinstance(judged, LanguageCheck)


def test_only_who_needs_the_identifier_loads_it() -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); from kto.ask.language import Gate;"
        "gate = Gate('nl', 'Latn'); gate.check('Ja.');"
        "assert not {'numpy', 'py3langid'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script, str(TEMPLATE)], check=True)
