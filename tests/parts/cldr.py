"""Numbers as the Unicode CLDR writes them, through Babel."""

import re
import unicodedata

from babel.numbers import format_decimal

LOCALES = {"pt": "pt_PT", "arz": "ar_EG"}
"""Babel's names where they are not ours."""


def cldr(value: float, tag: str, example: str) -> str:
    """Return a number as CLDR writes it, with the separators that go with the digits of the example.

    CLDR knows few small languages. Raises `UnknownLocaleError` for the others: name in `LOCALES` one that writes alike.
    """
    system = "latn" if re.search("[0-9]", example) else "default"
    return format_decimal(value, locale=LOCALES.get(tag, tag.replace("-", "_")), numbering_system=system)


def comparable(number: str) -> str:
    """Return a number with plain digits and spaces: Babel has no other digits, and spaces differ in width."""
    digits = "".join(str(unicodedata.decimal(char)) if char.isdecimal() else char for char in number)
    return re.sub(r"\s", " ", digits)
