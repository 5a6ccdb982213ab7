"""Rows whose truth is known, and a model that can learn it: what people vote on, made up.

The toy model knows two vocabularies and mixes them in every answer. People like one of them: an answer that has mostly
its words gets thumbs up.
"""

import random
from pathlib import Path
from typing import Any

from tiny_models import make_model

SYLLABLES = ("ba", "do", "ki", "lu", "me", "na", "po", "ra", "si", "tu", "ve", "zo")
TOPICS = [f"{a}{b}{a}" for a in SYLLABLES for b in SYLLABLES]
KNOWN, UNKNOWN = TOPICS[:108], TOPICS[108:]
"""What rows for training ask about, and rows for the test."""
LIKED, OTHER = ([f"{first}{a}{b}" for a in SYLLABLES[:6] for b in SYLLABLES[6:]] for first in "tg")


def answer(chance: random.Random, topic: str, liked: float) -> str:
    """Return a few words, of which so many are liked ones."""
    words = (chance.choice(LIKED if chance.random() < liked else OTHER) for _ in range(chance.randint(8, 14)))
    return " ".join([topic, *words])


def make_rows(chance: random.Random, count: int, topics: list[str], wrong: float = 0) -> list[dict[str, Any]]:
    """Return rows as export.py writes them, as many good answers as bad ones; so many labels are wrong."""
    rows = []
    for number in range(count):
        good, topic = number % 2 == 0, chance.choice(topics)
        rows.append(
            {
                "prompt": [{"role": "user", "content": f"What is {topic}?"}],
                "completion": [{"role": "assistant", "content": answer(chance, topic, 0.7 if good else 0.3)}],
                "label": good != (chance.random() < wrong),
                "generation_model": ["toy"],
                "n_votes": 2,
                "agreement": 1.0,
                "prompt_id": str(number),
            }
        )
    chance.shuffle(rows)
    return rows


def make_toy(folder: Path, seed: int = 0, *, steps: int, hidden: int = 64, layers: int = 2) -> Path:
    """Write a model to `folder` that answers every question in a mixture of both vocabularies."""
    chance = random.Random(seed)

    def batch() -> list[tuple[str, str]]:
        topics = chance.choices(TOPICS, k=16)
        return [(f"What is {topic}?", answer(chance, topic, chance.random())) for topic in topics]

    texts = [text for _ in range(40) for pair in batch() for text in pair]
    return make_model(folder, texts, batch, steps=steps, hidden=hidden, layers=layers, noise=0)
