"""The language of the search box."""

import sys
import unicodedata

import pytest
from argilla_server import TEMPLATE
from hypothesis import assume, given
from hypothesis import strategies as st

sys.path.insert(0, str(TEMPLATE))

from kto.vote.argilla_server.text_query import fold, matches, tokens

LETTERS = st.text(
    st.sampled_from(
        "abzÀßĞİıőŁ 'ʼ-éé ابتةسَّـ\u200c हिन्दीक्षौ বাংলাไทยเกาะ 你好世界カナ 한국어 Ελληνικάς ქართአማ\u200e👍🏽🙂 .,!?\"|*-"
    )
)


@pytest.mark.parametrize(
    ("query", "text", "expected"),
    [
        ("cat dog", "A dog and a CAT.", True),
        ("cat dog", "A cat.", False),
        ("cat | dog", "A dog.", True),
        ("cat | dog", "A bird.", False),
        ("cat -dog", "A cat.", True),
        ("cat -dog", "A cat and a dog.", False),
        ("-dog", "A cat.", True),
        ('"big cat"', "a big cat", True),
        ('"big cat"', "a cat, big", False),
        ('-"big cat"', "a big cat", False),
        ('"big cat', "a big cat", True),
        ("cat*", "catalogue", True),
        ("cat", "catalogue", False),
        ("*", "anything", False),
        ("", "anything", False),
        ("?!", "Really?!", False),
        ("a | b c", "a", False),  # from left to right: (a or b) and c
        ("a | b c", "a c", True),
        ("ng'ombe", "Ng’ombe wangu", True),  # Swahili: the apostrophe is part of the word, in either shape
        ("straße", "STRASSE", True),
        ("İstanbul", "i̇stanbul", True),
        ("café", "cafe\u0301", True),
        ("العالم", "مرحبا بالعالم", False),
        ("العالم", "هذا العالم.", True),
        ("می‌خواهم", "میخواهم", True),  # with and without the zero-width joiner
        ("हिन्दी", "मैं हिन्दी बोलता हूँ।", True),
        ("हिन्द", "मैं हिन्दी बोलता हूँ।", False),  # the vowel sign belongs to the word
        ("हिन्द*", "मैं हिन्दी बोलता हूँ।", True),
        ("ประเทศ", "ฉันรักประเทศไทย", True),  # no spaces between words
        ("世界", "你好世界。", True),
        ("世好", "你好世界。", False),
        ("カナ", "ひらがなとカタカナ", True),
        ("책", "책을 읽다", True),
        ("👍", "Good 👍🏽", True),
    ],
)
def test_query_language(query: str, text: str, expected: bool) -> None:
    assert matches(query, [text]) is expected


def test_words_may_be_in_different_texts_but_a_phrase_is_in_one() -> None:
    assert matches("cat dog", ["a cat", "a dog"])
    assert not matches('"cat dog"', ["a cat", "dog food"])


@given(st.text() | LETTERS, st.lists(st.text() | LETTERS))
def test_no_query_fails(query: str, texts: list[str]) -> None:
    assert matches(query, texts) in (True, False)


@given(st.text() | LETTERS)
def test_a_text_is_found_by_its_own_words(text: str) -> None:
    for word in text.split():
        plain = word.strip('-*|"')
        assume("|" not in plain and '"' not in plain)
        if tokens(fold(plain)):
            assert matches(plain, [text])
            assert not matches("-" + plain, [text])
            assert matches(f"zzzz | {plain}", [text])


@given(st.text() | LETTERS)
def test_a_text_is_found_by_itself_as_a_phrase(text: str) -> None:
    phrase = text.replace('"', " ")
    assert matches(f'"{phrase}"', [text]) is bool(tokens(fold(phrase)))


@given(st.text() | LETTERS)
def test_case_and_encoding_make_no_difference(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    assert fold(unicodedata.normalize("NFD", text)) == fold(unicodedata.normalize("NFC", text))
