"""Write `languages/subtags.tsv`, the language-neutral facts about every language that has an ISO 639 code.

Needs `langcodes`, `language_data` and `datasets` (`pip install langcodes language_data datasets`). The facts come from
the IANA language subtag registry and from CLDR (names, likely scripts), as these packages carry them; the list of
codes that dataset cards accept comes from `datasets`.
"""

import json
from importlib.resources import files
from pathlib import Path

import langcodes
import language_data
from langcodes.data_dicts import LANGUAGE_REPLACEMENTS, LIKELY_SUBTAGS
from language_data.names import data_filename, get_trie_value, load_trie

HEAD = """\
# Language-neutral facts from the IANA subtag registry and CLDR, written by tools/make_subtags.py.
# subtag, English name, autonym (if known), usual script (if known), language whose texts its readers take where there
# are none of their own, other English names; lang-REGION rows: only where the script differs; rows whose second column
# begins with = are other codes for that language.
"""
PARENTS = {
    "no": "nb",
    "nn": "nb",
    # Written for readers in Indonesia, though the registry counts them to Malay
    **dict.fromkeys(("id", "jax", "mqg", "vkt"), ""),
    **dict.fromkeys(("bjn", "min", "mui", "pse"), "id"),
}
"""Parents that differ from the registry's macrolanguages."""


def registry() -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Return the registry's records of type `language` by subtag, and all names that it gives each of them."""
    text = files(language_data).joinpath("data/language-subtag-registry.txt").read_text(encoding="utf-8")
    records, names = {}, {}
    for block in text.split("%%"):
        lines = [line.split(": ", 1) for line in block.strip().splitlines() if ": " in line]
        record = dict(reversed(lines))
        if record.get("Type") == "language" and ".." not in record["Subtag"]:
            records[record["Subtag"]] = record
            names[record["Subtag"]] = [value for name, value in lines if name == "Description"]
    return records, names


def english_names() -> dict[str, str]:
    """Return English language name (lower case; CLDR, Wiktionary) → language."""
    trie = load_trie(data_filename("trie/en/name_to_language.marisa"))
    return {name: get_trie_value(trie, name).split("-")[0] for name in trie if name[0] < "\u0250"}  # no Deseret


def main() -> None:
    """Write the table."""
    cards = json.loads(files("datasets").joinpath("utils/resources/languages.json").read_text(encoding="utf-8"))
    rows: dict[str, tuple[str, ...]] = {}
    records, names = registry()
    for name, subtag in english_names().items():
        new = LANGUAGE_REPLACEMENTS.get(subtag, subtag)
        if new in names:
            names[new].append(name.title())
    for subtag, record in records.items():
        if subtag not in cards or record.get("Scope") in ("collection", "special", "private-use"):
            continue
        language = langcodes.Language.get(subtag)
        english = language.display_name("en")
        if english.startswith("Unknown language") or english == subtag:
            english = record["Description"]
        autonym = language.autonym()
        likely = LIKELY_SUBTAGS.get(subtag, "")
        script = likely.split("-")[1] if likely else record.get("Suppress-Script", "")
        parent = PARENTS.get(subtag, record.get("Macrolanguage", ""))
        shown = "" if autonym in (english, subtag) else autonym
        known = {english.casefold(), shown.casefold()}
        others = {name.casefold(): name for name in reversed(names[subtag]) if name.casefold() not in known}
        rows[subtag] = (english, shown, script, parent, "; ".join(sorted(others.values())))
    for key, likely in LIKELY_SUBTAGS.items():
        parts = key.split("-")
        if len(parts) == 2 and parts[0] in rows and len(parts[1]) in (2, 3):
            script = likely.split("-")[1]
            if script != rows[parts[0]][2]:
                rows[key] = ("", "", script, "", "")
    for old, new in LANGUAGE_REPLACEMENTS.items():
        if old.isalpha() and new in rows:
            rows[old] = (f"={new}", "", "", "", "")
    lines = ["\t".join((subtag, *row)).rstrip("\t") for subtag, row in sorted(rows.items())]
    target = Path(__file__).parent.parent / "languages" / "subtags.tsv"
    target.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    print(f"{target}: {len(lines)} rows")


if __name__ == "__main__":
    main()
