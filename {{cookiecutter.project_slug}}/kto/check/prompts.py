"""Can the texts and the prompts be used?"""

import json
from pathlib import Path

from kto import pages, texts
from kto.ask import prompt_sources
from kto.check import Findings
from kto.examples import ROWS, examples
from kto.hub_lookup import Hub, Unreachable
from kto.questions import questions
from kto.settings import Settings
from kto.texts import t
from kto.vote.page_json import page_json


def check_texts(config: Settings, found: Findings) -> None:
    """Check every text that a command or page will need, before anybody waits for it."""
    wanted: dict[str, list[str]] = json.loads((texts.ROOT / "kto" / "text_names.json").read_text(encoding="utf-8"))
    for key, names in wanted.items():
        with found.collect():
            if key == ROWS:
                examples(texts.load(), names)
            else:
                texts.checked(texts.load(), key, names)
    values = pages.values_of(config)
    with found.collect():
        asked = questions(config.annotation.model_dump(), texts.load())
        if unknown := sorted(texts.keys(texts.own()) - wanted.keys() - asked.keys - {"numbers"}):
            found.notes.append(t("technical.unknown_texts", path=texts.OWN, names=", ".join(unknown)))
        page_json(texts.load(), values, asked)
    for page in sorted((texts.ROOT / "kto" / "pages").rglob("*.md")):
        with found.collect():
            pages.fill_page(page, texts.load(), values)


def check_prompts(config: Settings, hub: Hub, token: str, found: Findings) -> None:
    """Read each file with prompts, and the first rows of each dataset on the Hub."""
    origins: list[Path | str] = []
    english = 0
    with found.collect():
        origins = prompt_sources.sources(config)
    for origin in origins:
        with found.collect():
            if isinstance(origin, Path):
                read = prompt_sources.load(config, origins=[origin])
                english += prompt_sources.english_prompts(config, (prompt.text for prompt in read.prompts))
                found.notes.append(t("check.prompts", number=len(read.prompts), source=origin))
                found.notes += [t("technical.unfiltered", source=source) for source in read.unfiltered]
            elif isinstance(exists := hub.has_dataset(origin), Unreachable):
                found.problems.append(t("check.unreachable", name=origin, reason=exists))
            elif not exists:
                found.problems.append(t("check.no_dataset", name=origin))
            elif not prompt_sources.look_at_dataset(config, origin, token):
                found.notes.append(t("technical.no_prompt_yet", source=origin, number=prompt_sources.LOOKED_AT))
    with found.collect():
        found.notes[:0] = prompt_sources.english_notes(config, english)
    if len(origins) > 1 and all(isinstance(origin, Path) for origin in origins):
        with found.collect():  # an error of all of them together
            prompt_sources.load(config)
