"""What models would be told in English because nobody has translated it yet.

A project whose language has no catalogue is made with English prompts; `kto/english_prompts.json` has fingerprints of
them. What people have written themselves is no concern of ours, whatever its language.
"""

import json
from collections.abc import Iterable, Iterator

from kto.pages import fingerprint
from kto.settings import Settings
from kto.texts import t


def _english(config: Settings) -> frozenset[str]:
    try:
        return frozenset(json.loads((config.root / "kto" / "english_prompts.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return frozenset()


def english_prompts(config: Settings, texts: Iterable[str]) -> int:
    """Return how many of these prompts are the English ones."""
    english = _english(config)
    return sum(fingerprint(text) in english for text in texts) if english else 0


def sentences(config: Settings, number: int) -> Iterator[str]:
    """Say what is English: so many prompts, and the system prompt if it is the one that the project was made with."""
    language = config.language.english_name
    if number:
        yield t("technical.english_prompts", language=language, number=number)
    if fingerprint(config.system_prompt) in _english(config):
        yield t("technical.english_system_prompt", language=language, path="prompts/system_prompt.txt")
