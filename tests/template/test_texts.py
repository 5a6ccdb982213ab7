"""The language catalogues: complete, with the same placeholders, in the right script and language."""

import ast
import re
import shutil
import unicodedata
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from cldr import cldr, comparable
from py3langid.langid import MODEL_FILE, LanguageIdentifier
from rendering import LANGUAGES, REPOSITORY, TEMPLATE, read_yaml

from local_extensions import languages, rendering
from tools import language as catalogues

ENGLISH = dict(catalogues.flat(languages.catalogue("en")))
OTHERS = [tag for tag in LANGUAGES if tag != "en"]
# Looked up by a name that is put together
COMPUTED = re.compile(
    r"page\.|plan\.|aspects\.|dataset_card\.rule_|technical\.allowed_|examples\.|commands\.|config\.(allowed_|an?_)|task\.(good|bad|reason_|[a-z]+_help)|generate\.(failed|column)_|technical\.unfit_|new_prompts\.count_|readme\.step_"
)


@pytest.mark.parametrize("tag", LANGUAGES)
def test_the_catalogue_is_complete_and_right(tag: str) -> None:
    assert catalogues.check(tag) == []


def test_there_are_at_least_fifty() -> None:
    assert len(LANGUAGES) >= 50
    wanted = {key for key in ENGLISH if not catalogues.is_optional(key)}
    whole = [tag for tag in LANGUAGES if wanted <= set(dict(catalogues.flat(languages.catalogue(tag))))]
    assert len(whole) >= 50


def test_the_readme_names_them_all() -> None:
    readme = " ".join((REPOSITORY / "README.md").read_text(encoding="utf-8").split())
    names = sorted((languages.catalogue(tag) or {})["language"]["english_name"] for tag in LANGUAGES)
    assert f"{', '.join(names)}." in readme
    texts = [key for key in ENGLISH if not catalogues.is_optional(key) and not re.search(r"rows\.\d\.vote$", key)]
    assert f"{len(LANGUAGES)} catalogues of {len(texts)} texts" in readme


@pytest.mark.parametrize("tag", LANGUAGES)
def test_header_says_who_wrote_and_who_read_it(tag: str) -> None:
    header = (languages.catalogue(tag) or {})["language"]
    assert header["drafted_by"] and header["reviewed_by"]
    assert header["reviewed"] is (header["reviewed_by"] != "nobody yet")


@pytest.mark.parametrize("tag", LANGUAGES)
def test_numbers_are_written_as_cldr_has_it(tag: str) -> None:
    """CLDR has no example of four digits; spaces of any width count as one."""
    written = (languages.catalogue(tag) or {})["language"]["numbers"][1]
    assert comparable(written) == comparable(cldr(1234567.8, tag, written))


# --- is it the language that it says it is? ---

# py3langid knows another code for these
KNOWN_AS = {"nb": {"nb", "no"}, "fil": {"tl"}, "zh-Hans": {"zh"}, "zh-Hant": {"zh"}, "pt-BR": {"pt"}}
# Written so much like another language that py3langid takes one for the other, or unknown to it
CLOSE = {"sr-Latn": {"hr", "bs"}, "arz": {"ar"}}


@pytest.fixture(scope="session")
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier.from_model_file(MODEL_FILE)


def long_texts(tag: str) -> dict[str, str]:
    """Return texts of at least 200 characters (60 where one is a syllable or a word); the starter prompts are one."""
    long = 60 if tag in ("ja", "ko", "zh-Hans", "zh-Hant") else 200
    texts = {key: str(text) for key, text in catalogues.flat(languages.catalogue(tag))}
    prompts = " ".join(text for key, text in texts.items() if key.startswith("starter_prompts."))
    texts["starter_prompts"] = prompts
    bare = {key: " ".join(re.sub(r"[#*|>-]+", " ", catalogues.prose(text)).split()) for key, text in texts.items()}
    return {key: text for key, text in bare.items() if len(text) >= long}


@pytest.mark.parametrize("tag", OTHERS)
def test_long_texts_are_in_the_language(tag: str, identifier: LanguageIdentifier) -> None:
    own = KNOWN_AS.get(tag, {tag.split("-")[0]})
    if not own & set(identifier.labels):
        assert tag in CLOSE, f"py3langid does not know {tag}: say so in CLOSE"
        return
    found = {key: identifier.classify(text)[0] for key, text in long_texts(tag).items()}
    assert len(found) > 4 or catalogues.parents(tag)
    wrong = {key: language for key, language in found.items() if language not in own | CLOSE.get(tag, set())}
    assert wrong == {}


@pytest.mark.parametrize(("tag", "encoding"), [("zh-Hans", "gb2312"), ("zh-Hant", "big5")])
def test_chinese_is_written_in_the_characters_that_it_says(tag: str, encoding: str) -> None:
    """GB 2312 holds the simplified characters, Big5 the traditional ones."""
    text = "".join(str(text) for _, text in catalogues.flat(languages.catalogue(tag)))
    ideographs = {char for char in text if unicodedata.name(char, "").startswith("CJK UNIFIED")}
    assert len(ideographs) > 300
    assert {char for char in ideographs if not char.encode(encoding, "ignore")} == set()


# --- the checks themselves ---


def broken(tmp_path: Path, old: str, new: str, tag: str = "nl") -> list[str]:
    """Return what is said about a catalogue in which `old` became `new`."""
    text = (REPOSITORY / "languages" / f"{tag}.yaml").read_text(encoding="utf-8")
    assert text.count(old) >= 1
    (tmp_path / f"{tag}.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    return catalogues.check(tag, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("  nobody_new: ", "  nobody_knew: ", "notebook.nobody_new: is missing: translate it from en.yaml"),
        ("  nobody_new: ", "  nobody_knew: ", "notebook.nobody_knew: is not in en.yaml: remove it"),
        ("{count}", "{counts}", "lacks {count}: put it in"),
        ("{count}", "{counts}", "has {counts}, which means nothing there (known: {count}): correct or remove it"),
        ("`.env.example`", "`.env.voorbeeld`", "lacks `.env.example`: keep it as it is in en.yaml"),
        ("  fine: ", "  fine: Everything can be used. #", "check.fine: is in English: translate it"),
        ("  fine: ", "  fine: Все можна використати прямо зараз. #", "check.fine: is not in the script Latn"),
        ("  fine: ", "  fine: ' ' #", "check.fine: has no text"),
        ("  fine: ", "  fine: no #", "check.fine: has no text: write one, in quotation marks if it is a number"),
        ("  fine: ", "  fine: a\n  fine: ", "“fine” stands there twice"),
        ("  fine: ", '  fine: "a\u200fb" #', "has an invisible character (U+200F): remove it"),
        ("  fine: ", '  fine: "e\u0301e\u0301n" #', "is not in Unicode's form NFC"),
        ("  fine: ", "  fine: : ", "cannot be read"),
        ("  short_description: ", f"  short_description: {'lang ' * 20} #", "write at most 60"),
        ("  direction: ltr", "  direction: rtl", "language.direction: is rtl: write ltr"),
        ("  tag: nl", "  tag: en", "language.tag: is en: write nl"),
        ("  numbers: ", "  numbers: [1.234, '1.234.567,8'] #", "language.numbers: write how 1234 and 1234567.8 look"),
        ("  numbers: ", "  numbers: FILL IN #", "language.numbers: is to be filled in"),
        ("  numbers: ", "  numbers: [a, b] #", "language.numbers: write how 1234 and 1234567.8 look"),
        ("  reviewed: false", "  reviewed: true", "language.reviewed_by: write who reviewed it"),
        ("{unsure}", "{unsicher}", "task.guidelines: lacks {unsure}: put it in"),
    ],
)
def test_a_mistake_is_named_with_file_key_and_what_to_do(tmp_path: Path, old: str, new: str, said: str) -> None:
    problems = broken(tmp_path, old, new)
    assert any(said in problem for problem in problems), problems
    assert all(problem.startswith("languages/nl.yaml: ") for problem in problems)


def test_a_prompt_that_stands_there_twice_is_named(tmp_path: Path) -> None:
    first, second = (languages.catalogue("sw") or {})["starter_prompts"][:2]
    assert any("stands there twice" in problem for problem in broken(tmp_path, second, first, tag="sw"))


def test_a_new_catalogue_is_begun_with_the_facts_and_lists_what_is_to_do(tmp_path: Path) -> None:
    path = catalogues.begin("quy", tmp_path)
    content = read_yaml(path)
    assert content["language"]["english_name"] == "Ayacucho Quechua" and content["language"]["reviewed"] is False
    assert content["task"] == (languages.catalogue("en") or {})["task"]
    problems = catalogues.check("quy", tmp_path)
    header = [problem for problem in problems if ": language." in problem]
    assert [problem.split(": ")[1] for problem in header] == [
        "language.autonym",
        "language.numbers",
        "language.drafted_by",
    ]
    assert all("is to be filled in" in problem for problem in header)
    rest = [problem for problem in problems if problem not in header]
    assert 250 < len(rest) < 370 and all("is in English: " in problem for problem in rest)


def test_only_what_is_met_on_the_usual_way_has_to_be_translated(tmp_path: Path) -> None:
    """At most 320 sentences, besides prompts and examples; the others are said in English, one by one."""
    begun = dict(catalogues.flat(read_yaml(catalogues.begin("quy", tmp_path))))
    required = {key for key in ENGLISH if not catalogues.is_optional(key)}
    assert {key for key in begun if not key.startswith("language.")} == required
    made_anew = ("starter_prompts.", "prompt_frames.", "examples.rows.")
    assert 250 <= len([key for key in required if not key.startswith(made_anew)]) <= 320


def test_other_words_in_english_leave_the_catalogues_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every sentence is reworded; placeholders, code and the shape stay."""

    def reworded(node: object, key: str = "") -> object:
        if isinstance(node, dict):
            return {name: reworded(value, f"{key}.{name}") for name, value in node.items()}
        if isinstance(node, list):
            return [reworded(value) for value in node]
        return f"Said differently now, {node}" if isinstance(node, str) and not key.startswith(".language") else node

    english = read_yaml(REPOSITORY / "languages" / "en.yaml")
    (tmp_path / "en.yaml").write_text(yaml.safe_dump(reworded(english), allow_unicode=True), encoding="utf-8")
    for tag in OTHERS:
        shutil.copy(REPOSITORY / "languages" / f"{tag}.yaml", tmp_path)
    monkeypatch.setattr(catalogues, "LANGUAGES", tmp_path)
    assert {tag: problems for tag in OTHERS if (problems := catalogues.check(tag, tmp_path))} == {}


def test_what_is_left_in_english_is_named_also_where_it_is_short(tmp_path: Path) -> None:
    """A few short texts may be the same in two languages, so they count only together."""
    text = (REPOSITORY / "languages" / "nl.yaml").read_text(encoding="utf-8")
    for key in ("prompt", "answer", "good", "bad", "model", "reason_not_true", "reason_unsafe"):
        text = re.sub(rf"(?m)^  {key}: .*$", lambda _, key=key: f'  {key}: "{ENGLISH["task." + key]}"', text, count=1)
    (tmp_path / "nl.yaml").write_text(text, encoding="utf-8")
    assert "languages/nl.yaml: task.good: is in English: translate it" in catalogues.check("nl", tmp_path)


def test_a_variant_begins_with_its_header_alone(tmp_path: Path) -> None:
    path = catalogues.begin("es-MX", tmp_path)
    assert list(read_yaml(path)) == ["language"]
    assert "only what is different from es.yaml" in path.read_text(encoding="utf-8")
    assert all(": language." in problem for problem in catalogues.check("es-MX", tmp_path))


def test_who_writes_a_catalogue_knows_its_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table knows the script of few small languages."""
    path = catalogues.begin("shy", tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "  script: FILL IN" in text
    text = text.replace("script: FILL IN", "script: Arab").replace("direction: ltr", "direction: rtl")
    path.write_text(text, encoding="utf-8")
    monkeypatch.setattr(languages, "LANGUAGES", tmp_path)
    shutil.copy(REPOSITORY / "languages" / "subtags.tsv", tmp_path)
    shutil.copy(REPOSITORY / "languages" / "en.yaml", tmp_path)
    for cached in (languages.catalogue, languages.facts_of):
        cached.cache_clear()
    try:
        facts = languages.facts_of("shy")
        assert (facts.script, facts.direction, facts.texts) == ("Arab", "rtl", ["shy", "en"])
        assert not [problem for problem in catalogues.check("shy", tmp_path) if "language.script" in problem]
    finally:
        monkeypatch.undo()
        for cached in (languages.catalogue, languages.facts_of):
            cached.cache_clear()


@pytest.mark.parametrize("tag", ["no", "alu", "kud"])
def test_a_new_catalogue_says_what_was_meant(tag: str, tmp_path: Path) -> None:
    """`no` would be false in YAML, and a name with an apostrophe in front no text."""
    header = read_yaml(catalogues.begin(tag, tmp_path))["language"]
    assert header["tag"] == tag and header["english_name"] == languages.subtags()[tag][0]


@pytest.mark.parametrize(
    "content",
    [
        "task.prompt: Vraag",
        "starter_prompts: {0: a}",
        "prompt_frames: 3",
        "prompt_frames:\n  - {domain}: wat?",
        "space: hallo",
        "task: hallo",
        "",
        "a text",
        "- a list",
        "task: {good: ja}",
        "language: nl",
    ],
)
def test_a_file_that_is_no_catalogue_is_told_so(tmp_path: Path, content: str) -> None:
    (tmp_path / "yo.yaml").write_text(content, encoding="utf-8")
    problems = catalogues.check("yo", tmp_path)
    assert problems and all(problem.startswith("languages/yo.yaml: ") for problem in problems)


def test_the_command_says_when_a_tag_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogues.main(["Klingonese"]) == 1
    assert "is not a language tag" in capsys.readouterr().out
    assert catalogues.main(["nl"]) == 0
    assert capsys.readouterr().out.startswith("languages/nl.yaml: complete")


# --- whose texts a project takes ---


@pytest.mark.parametrize(
    ("tag", "chain"),
    [
        ("pt-BR", ["pt-BR", "pt", "en"]),
        ("pt-AO", ["pt", "en"]),
        ("es-419-x-a", ["es", "en"]),
        ("zh", ["zh-Hans", "en"]),
        ("zh-TW", ["zh-Hant", "en"]),
        ("zh-HK", ["zh-Hant", "en"]),
        ("yue", ["zh-Hant", "en"]),
        ("no", ["nb", "en"]),
        ("nn", ["nb", "en"]),
        ("apc", ["ar", "en"]),
        ("arz", ["arz", "ar", "en"]),
        ("swh", ["sw", "en"]),
        ("tl", ["fil", "en"]),
        ("sr-Cyrl", ["sr", "en"]),
        ("sr-Latn", ["sr-Latn", "en"]),
        ("sr-ME", ["sr-Latn", "en"]),
        ("uz-Cyrl", ["en"]),
        ("prs", ["fa", "en"]),
        ("gsw", ["en"]),
        ("en-NG", ["en"]),
    ],
)
def test_variants_inherit(tag: str, chain: list[str]) -> None:
    assert languages.facts_of(languages.standard_tag(tag)).texts == chain


def test_every_tag_of_the_table_can_be_used() -> None:
    for subtag in languages.subtags():
        facts = languages.facts_of(subtag)
        assert facts.direction in ("ltr", "rtl") and facts.autonym and facts.iso and facts.texts[-1] == "en"
    assert [languages.standard_tag(tag) for tag in ("ger", "zh-hant-tw", "sr_latn")] == [
        "de",
        "zh-Hant-TW",
        "sr-Latn",
    ]


# --- the code names the texts, all of them ---


def looked_up() -> set[str]:
    """Return every key that code or pages name."""
    keys = set()
    for path in [*TEMPLATE.rglob("*.py"), *(REPOSITORY / "local_extensions").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                keys |= {node.value, f"errors.{node.value}", f"technical.{node.value}"}
                keys |= {f"generate.{node.value}"} if node.value.startswith("line_") else set()
    for path in [*(TEMPLATE / "kto" / "pages").rglob("*.md"), *(TEMPLATE / "kto" / "ask" / "cards").glob("*.md")]:
        named = catalogues.PLACEHOLDER.findall(path.read_text(encoding="utf-8"))
        keys |= {name.removesuffix("_quoted") for name in named}
    keys |= {f"notebook.{key}" for cell in rendering.CELLS.values() for _, key in cell}
    keys |= set(re.findall(r'"([a-z_]+\.[a-z_]+)', (TEMPLATE / "setup_argilla.ipynb").read_text(encoding="utf-8")))
    return keys


def pages() -> ModuleType:
    return languages.project_module("pages")


def test_no_text_is_superfluous() -> None:
    keys = looked_up()
    sections = ("language.", "defaults.", "starter_prompts.", "prompt_frames.", "system_prompt")
    unused = [key for key in ENGLISH if key not in keys and not key.startswith(sections) and not COMPUTED.match(key)]
    assert unused == []


def test_the_notebook_has_the_cells_that_are_filled() -> None:
    source = (TEMPLATE / "setup_argilla.ipynb").read_text(encoding="utf-8")
    assert re.findall(r'nb\(cookiecutter, "([a-z-]+)"\)', source) == list(rendering.CELLS)


def test_readme_says_who_has_signed_off_the_texts() -> None:
    headers = {tag: (languages.catalogue(tag) or {})["language"] for tag in LANGUAGES}
    assert {tag for tag, header in headers.items() if header["reviewed"]} == set()
    assert {header["reviewed_by"] for header in headers.values()} == {"nobody yet"}
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    drafted = "All of them were drafted by a language model; "
    assert f"{drafted}none has been reviewed by a native speaker yet." in readme


def test_what_readme_says_about_speed_was_measured() -> None:
    readme, measured = (
        (REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", "benchmarks/README.md")
    )
    claim = re.search(r"in (?:less than )?(\d+) MB at ([\d,]+) prompts × 3 models", readme)
    assert (
        claim
        and f"--prompts {claim[2].replace(',', '')}`" in measured
        and f"| peak memory | {claim[1]} MB |" in measured
    )
    rows = {
        name: re.search(rf"\| {name} \| ([\d.]+) s \| ([\d.]+) s \|", measured) for name in ("time", "processor time")
    }
    ours, theirs = ([float(row[column]) for row in rows.values() if row] for column in (1, 2))
    assert "faster than the plain openai client" in readme and ours[0] < theirs[0]
    assert "with two thirds of the processor time" in readme and ours[1] <= theirs[1] * 2 / 3
