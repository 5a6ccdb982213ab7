"""Can the texts and the prompts be used?"""

import json
from pathlib import Path

from kto import pages, texts
from kto.ask import prompt_sources, untranslated
from kto.check.findings import Findings
from kto.hub_lookup import Hub, Unreachable
from kto.settings import Settings
from kto.texts import t


def check_texts(config: Settings, found: Findings) -> None:
    """Look at every text that some command or page will need, before anybody waits for it."""
    wanted: dict[str, list[str]] = json.loads((texts.ROOT / "kto" / "text_names.json").read_text(encoding="utf-8"))
    for key, names in wanted.items():
        with found.collect():
            texts.checked(texts.load(), key, names)
    if unknown := sorted(texts.keys(texts.own()) - wanted.keys() - {"numbers"}):
        found.notes.append(t("technical.unknown_texts", path=texts.OWN, names=", ".join(unknown)))
    values = pages.values_of(config)
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
                there = prompt_sources.load(config, origins=[origin])
                english += untranslated.english_prompts(config, (prompt.text for prompt in there.prompts))
                found.notes.append(t("check.prompts", number=len(there.prompts), source=origin))
                found.notes += [t("technical.unfiltered", source=each) for each in there.unfiltered]
            else:
                check_dataset(config, origin, hub, token, found)
    with found.collect():
        found.notes[:0] = untranslated.sentences(config, english)
    if len(origins) > 1 and all(isinstance(origin, Path) for origin in origins):
        with found.collect():  # what is wrong with all of them together
            prompt_sources.load(config)


def check_dataset(config: Settings, name: str, hub: Hub, token: str, found: Findings) -> None:
    """Ask the Hub for a dataset of prompts, and read its first rows."""
    known = hub.has_dataset(name)
    if isinstance(known, Unreachable):
        found.problems.append(t("check.unreachable", name=name, reason=known))
    elif not known:
        found.problems.append(t("check.no_dataset", name=name))
    elif not prompt_sources.look_at_dataset(config, name, token):
        found.notes.append(t("technical.no_prompt_yet", source=name, number=prompt_sources.LOOKED_AT))
