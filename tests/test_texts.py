"""The language catalogues: complete, with the same placeholders, in the right script."""

import ast
import json
import re
import unicodedata
from collections.abc import Iterator

import pytest
import yaml
from rendering import LANGUAGES, REPOSITORY, TEMPLATE

PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_.]*)\}")
SCRIPTS = {"Latn": "LATIN", "Arab": "ARABIC", "Deva": "DEVANAGARI"}
# Code, quoted names of buttons, placeholders, addresses, options and files
NOT_PROSE = re.compile(
    r"`[^`]*`|[“„«\"][ -~]+[”“»\"]|\{[^}]*\}|https?://\S+|--?[a-z-]+|[A-Z_]{5,}|[a-z]+_[a-z_]+|[\w./-]+\.(py|toml|yaml|md|txt|jsonl|env|ipynb)"
    r"|\b(Argilla|Hub|Space|Docker|Discord|KTO|PRO|Python|JSONL?|TOML|TRL)\b"
)
OTHERS = [tag for tag in LANGUAGES if tag != "en"]
# Looked up by a name that is put together
COMPUTED = re.compile(r"config\.(allowed_|an?_)|task\.reason_|generate\.failed_|readme\.step_")


def catalogue(tag: str) -> dict:
    return yaml.safe_load((REPOSITORY / "languages" / f"{tag}.yaml").read_text(encoding="utf-8"))


def flat(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted key, text) of all texts."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from flat(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from flat(value, f"{path}.{number}")
    else:
        yield path, str(node)


ENGLISH = dict(flat(catalogue("en")))


@pytest.mark.parametrize("tag", OTHERS)
def test_same_keys_and_placeholders(tag: str) -> None:
    texts = dict(flat(catalogue(tag)))
    file = f"languages/{tag}.yaml"
    assert [f"{file} lacks {key}: translate it from en.yaml" for key in ENGLISH if key not in texts] == []
    assert [f"{file} has {key}, which en.yaml lacks: remove it" for key in texts if key not in ENGLISH] == []
    for key, text in texts.items():
        names, wanted = set(PLACEHOLDER.findall(text)), set(PLACEHOLDER.findall(ENGLISH[key]))
        # A catalogue may name its own language, in the form that its grammar asks for.
        assert names | {"language"} == wanted | {"language"}, f"languages/{tag}.yaml: {key}: {names} is not {wanted}"
        assert names <= wanted, f"languages/{tag}.yaml: {key}"


@pytest.mark.parametrize("tag", LANGUAGES)
def test_header(tag: str) -> None:
    header = catalogue(tag)["language"]
    assert header["tag"] == tag
    assert header["reviewed"] is (tag == "en")
    rows = {
        line.split("\t")[0]: line.split("\t")[1:]
        for line in (REPOSITORY / "languages" / "subtags.tsv").read_text(encoding="utf-8").splitlines()
    }
    assert header["script"] == rows[header["iso"]][2] and header["english_name"] == rows[header["iso"]][0]


@pytest.mark.parametrize("tag", LANGUAGES)
def test_texts_are_normal_and_not_empty(tag: str) -> None:
    for key, text in flat(catalogue(tag)):
        assert text.strip(), key
        assert text == unicodedata.normalize("NFC", text), key
        assert not re.search(r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]", text), f"{key} has an invisible mark"
    assert len(catalogue(tag)["starter_prompts"]) == 24
    assert len(set(catalogue(tag)["starter_prompts"])) == 24
    assert len(catalogue(tag)["space"]["short_description"]) <= 60


@pytest.mark.parametrize("tag", OTHERS)
def test_texts_are_in_the_script_of_the_language(tag: str) -> None:
    """At least nine of ten letters, once names, code and placeholders are out."""
    content = catalogue(tag)
    script = SCRIPTS[content["language"]["script"]]
    own = total = 0
    for key, text in flat({key: value for key, value in content.items() if key != "language"}):
        bare = NOT_PROSE.sub("", text)
        letters = [unicodedata.name(letter).split()[0] for letter in bare if unicodedata.category(letter)[0] in "LM"]
        right = sum(name == script for name in letters)
        own, total = own + right, total + len(letters)
        if len(letters) > 40:
            assert right / len(letters) > 0.6, f"{tag}: {key}"
    assert own / total > 0.9


@pytest.mark.parametrize("tag", OTHERS)
def test_no_long_text_was_left_in_english(tag: str) -> None:
    same = [key for key, text in flat(catalogue(tag)) if len(text) > 25 and text == ENGLISH[key]]
    assert same == []


def looked_up() -> set[str]:
    """Return every key that code or pages name."""
    keys = set()
    for path in [*TEMPLATE.rglob("*.py"), REPOSITORY / "local_extensions.py"]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                keys |= {node.value, f"errors.{node.value}"}
    for path in (TEMPLATE / "kto" / "pages").rglob("*.md"):
        keys |= {name.removesuffix("_quoted") for name in PLACEHOLDER.findall(path.read_text(encoding="utf-8"))}
    keys |= set(re.findall(r'"([a-z_]+\.[a-z_]+)', (TEMPLATE / "setup_argilla.ipynb").read_text(encoding="utf-8")))
    return keys


def test_no_text_is_superfluous() -> None:
    keys = looked_up()
    sections = ("language.", "defaults.", "starter_prompts.", "system_prompt")
    unused = [key for key in ENGLISH if key not in keys and not key.startswith(sections) and not COMPUTED.match(key)]
    assert unused == []


def test_every_tag_of_the_table_can_be_used() -> None:
    import local_extensions

    for subtag in local_extensions.subtags():
        if not subtag.startswith("#"):
            facts = local_extensions.facts_of(subtag)
            assert facts.direction in ("ltr", "rtl") and facts.autonym and facts.iso
    json.dumps([local_extensions.standard_tag(tag) for tag in ("ger", "zh-hant-tw", "sr_latn")])
