"""`check.py pages`: changed texts and settings come into the pages, and what people wrote there stays."""

import json
from pathlib import Path

import pytest
import yaml
from generating import run, use
from huggingface_hub import DatasetCard
from rendering import read_yaml, render

UP_TO_DATE = "Niets te doen, alle pagina's zijn bij.\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return render(tmp_path, language="nl")


def change(project: Path, **texts: str) -> None:
    """Change texts in `texts.yaml`; `section__key` names one."""
    path = project / "texts.yaml"
    content = read_yaml(path) or {}
    for name, text in texts.items():
        section, key = name.split("__")
        content.setdefault(section, {})[key] = text
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def update(project: Path, *options: str) -> str:
    done = run(project, "check.py", "pages", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def content(project: Path) -> dict[str, bytes]:
    return {
        path.as_posix(): path.read_bytes() for path in project.rglob("*") if path.suffix in (".md", ".ipynb", ".json")
    }


def test_a_new_project_is_up_to_date(project: Path) -> None:
    before = content(project)
    assert update(project) == UP_TO_DATE
    assert content(project) == before


def test_changed_texts_come_into_every_page(project: Path) -> None:
    change(
        project,
        readme__what="Wij verzamelen duimen.",
        task__guidelines="Doe maar gewoon.",
        space__what="Hier stemmen wij.",
        dataset_card__what="Beoordeelde antwoorden.",
        community__announcement="Doe mee!",
    )
    said = update(project)
    for name, text in {
        "README.md": "Wij verzamelen duimen.",
        "publish/community/guidelines.md": "Doe maar gewoon.",
        "publish/community/announcement.md": "Doe mee!",
        "publish/space/README.md": "Hier stemmen wij.",
        "publish/dataset/README.md": "Beoordeelde antwoorden.",
    }.items():
        assert text in (project / name).read_text(encoding="utf-8"), name
        assert name in said
    assert "publish/community/consent.md" not in said
    assert update(project) == UP_TO_DATE


def test_line_ends_of_windows_are_no_change(project: Path) -> None:
    for name in ("README.md", "texts.yaml", "kto/texts.yaml"):
        path = project / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert update(project) == UP_TO_DATE
    change(project, readme__what="Wij verzamelen duimen.")
    assert "--replace" not in update(project)
    assert "Wij verzamelen duimen." in (project / "README.md").read_text(encoding="utf-8")


def test_numbers_in_the_card_stay(project: Path) -> None:
    card = project / "publish" / "dataset" / "README.md"
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace("<!-- numbers -->\n", "<!-- numbers -->\n| 12 | 34 |\n"), encoding="utf-8")
    assert update(project) == UP_TO_DATE
    change(project, dataset_card__what="Beoordeelde antwoorden.")
    update(project)
    text = card.read_text(encoding="utf-8")
    assert "| 12 | 34 |" in text and "Beoordeelde antwoorden." in text


def test_an_owner_who_comes_later_is_in_the_card(project: Path) -> None:
    use(project, "project", hub_owner="ann")
    assert "publish/dataset/README.md" in update(project)
    assert 'load_dataset("ann/kto-test"' in (project / "publish" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert DatasetCard.load(project / "publish" / "dataset" / "README.md").data.to_dict()["license"] == "cc-by-4.0"
    assert "`hub_owner`" not in (project / "README.md").read_text(encoding="utf-8")


def test_a_page_that_was_removed_is_not_made_again(project: Path) -> None:
    (project / "publish" / "community" / "consent.md").unlink()
    change(project, community__consent="Niets.")
    assert update(project) == "Opgeslagen: publish/voting/page.json\n"
    assert update(project) == UP_TO_DATE
    assert not (project / "publish" / "community" / "consent.md").exists()


def test_a_translated_project_speaks_its_language(tmp_path: Path) -> None:
    project = render(tmp_path, language="gsw")
    listed = (project / "TRANSLATING.md").read_text(encoding="utf-8")
    assert "uv run check.py pages" in listed and 'texts = ["gsw"]' in listed
    change(project, readme__what="Mir sammled Duume.")
    use(project, "language", texts=["gsw"])
    update(project)
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert "Mir sammled Duume." in readme and "TRANSLATING.md" not in readme
    assert "speakers of Swiss German" in readme, "the part for outsiders"


@pytest.mark.parametrize(
    ("name", "bad", "said"),
    [
        ("kto/texts.yaml", "- a", "kto/texts.yaml is not a list"),
        ("README.md", b"\xff\xfe", "README.md"),
        ("texts.yaml", "readme: 1", "texts.yaml has no text for “readme.what”"),
    ],
)
def test_what_cannot_be_read_is_named(project: Path, name: str, bad: str | bytes, said: str) -> None:
    before = (project / "publish" / "space" / "README.md").read_bytes()
    change(project, space__what="Hier stemmen wij.")
    (project / name).write_bytes(bad if isinstance(bad, bytes) else bad.encode())
    done = run(project, "check.py", "pages")
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert (project / "publish" / "space" / "README.md").read_bytes() == before


def test_a_wrong_placeholder_is_named_with_its_text(project: Path) -> None:
    change(project, readme__what="Wij verzamelen {thema}.")
    done = run(project, "check.py", "pages")
    assert done.returncode == 1
    assert "texts.yaml: “readme.what” uses {thema}" in done.stderr and "{language}, {domain}" in done.stderr


def test_the_check_looks_at_every_text(project: Path) -> None:
    path = project / "kto" / "texts.yaml"
    content = read_yaml(path)
    del content["task"]["vote_help"]
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    change(project, errors__no_rows="Geen rijen in {pad}.", readme__waht="Wat?")
    done = run(project, "check.py")
    assert done.returncode == 1
    assert "kto/texts.yaml has no text for “task.vote_help”" in done.stderr
    assert "  - texts.yaml: “errors.no_rows” uses {pad}" in done.stderr
    assert "texts.yaml that are not texts of this project" in done.stdout and "readme.waht" in done.stdout


def test_a_mistake_in_the_middle_leaves_everything_as_it_was(project: Path) -> None:
    change(project, readme__what="Eerste.", space__what="Fout {naam}.")
    before = content(project)
    assert run(project, "check.py", "pages").returncode == 1
    assert content(project) == before
    change(project, readme__what="Tweede.", space__what="Goed.")
    assert "--replace" not in update(project)
    assert "Tweede." in (project / "README.md").read_text(encoding="utf-8")


def test_other_models_come_into_the_card_until_the_first_export(project: Path) -> None:
    use(project, "generation", models=["acme/other"])
    update(project)
    card = (project / "publish" / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "`acme/other`" in card and "acme/one" not in card


def test_a_byte_order_mark_is_no_change(project: Path) -> None:
    path = project / "README.md"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert update(project) == UP_TO_DATE


def edit(path: Path) -> bytes:
    """Edit a page as a person would; return what is in it then."""
    path.write_text(path.read_text(encoding="utf-8") + "\nOnze eigen regel.\n", encoding="utf-8")
    return path.read_bytes()


def test_an_edited_page_is_named_and_stays(project: Path) -> None:
    ours = edit(project / "README.md")
    change(project, readme__what="Wij verzamelen duimen.")
    for _ in range(2):
        assert "uv run check.py pages --replace README.md" in update(project)
        assert (project / "README.md").read_bytes() == ours
    assert not list(project.glob("README.*.md"))


@pytest.mark.parametrize("name", ["README.md", "publish/dataset/README.md"])
def test_an_edited_page_is_replaced_on_demand_and_kept_beside_it(project: Path, name: str) -> None:
    page, beside = project / name, [(project / name).with_name(f"README.old{number}.md") for number in ("", "1")]
    ours = edit(page)
    edit(project / "publish" / "space" / "README.md")
    change(project, readme__what="Wij verzamelen duimen.", dataset_card__what="Wij verzamelen duimen.")
    said = update(project, "--replace", name)
    assert beside[0].relative_to(project).as_posix() in said and "--replace publish/space/README.md" in said
    assert beside[0].read_bytes() == ours
    new = page.read_text(encoding="utf-8")
    assert "Wij verzamelen duimen." in new and "Onze eigen regel." not in new
    again = edit(page)
    update(project, "--replace", str(page))
    assert [path.read_bytes() for path in beside] == [ours, again]
    assert f"Opgeslagen: {name}" not in update(project, "--replace", name), "there is nothing to replace"
    assert not page.with_name("README.old2.md").exists()
    change(project, readme__what="Nog een keer.", dataset_card__what="Nog een keer.")
    assert name in update(project) and "Nog een keer." in page.read_text(encoding="utf-8")


def test_a_page_that_is_none_is_not_replaced(project: Path) -> None:
    before = content(project)
    done = run(project, "check.py", "pages", "--replace", "generate.py")
    assert (
        done.returncode == 1
        and "generate.py is not one of the pages" in done.stderr
        and "publish/dataset/README.md" in done.stderr
    )
    assert content(project) == before


def test_without_its_memory_nothing_is_overwritten(project: Path) -> None:
    (project / "kto" / "made_pages.json").write_text(json.dumps([1]), encoding="utf-8")
    before = (project / "README.md").read_bytes()
    change(project, readme__what="Wij verzamelen duimen.")
    assert "--replace README.md" in update(project)
    assert (project / "README.md").read_bytes() == before


# --- projects from before there were publish/ and two files of texts ---


@pytest.fixture
def earlier(project: Path) -> Path:
    """The project with its folders and its texts where they were."""
    for folder in (project / "publish").iterdir():
        folder.rename(project / folder.name)
    (project / "publish").rmdir()
    (project / "kto" / "texts.yaml").replace(project / "texts.yaml")
    return project


def test_an_earlier_project_keeps_its_folders(earlier: Path) -> None:
    assert run(earlier, "check.py", "--help").returncode == 0
    change(earlier, dataset_card__what="Wij verzamelen duimen.", readme__step_invite="Geef ze {file.guidelines}.")
    said = update(earlier)
    assert "dataset/README.md" in said and "publish" not in said and not (earlier / "publish").exists()
    assert "Wij verzamelen duimen." in (earlier / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "Geef ze community/guidelines.md." in (earlier / "README.md").read_text(encoding="utf-8")


def test_the_texts_of_an_earlier_project_win(earlier: Path) -> None:
    """Also where an update has put the language's own beside them: then those fill the gaps."""
    change(earlier, cli__usage="Zo gaat het:")
    assert run(earlier, "check.py", "--help").stdout.startswith("Zo gaat het: ")
    whole = read_yaml(earlier / "texts.yaml")
    (earlier / "kto" / "texts.yaml").write_text(
        yaml.safe_dump(whole | {"cli": {"options": "Opties!"}}), encoding="utf-8"
    )
    content = whole | {"cli": {name: text for name, text in whole["cli"].items() if name != "options"}}
    (earlier / "texts.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    said = run(earlier, "check.py", "--help").stdout
    assert said.startswith("Zo gaat het: ") and "Opties!" in said


def test_a_name_without_a_text_changes_nothing(project: Path) -> None:
    (project / "texts.yaml").write_text("cli:\n  usage:\ntask:\n  # vote: Goed?\n", encoding="utf-8")
    assert run(project, "check.py", "--help").stdout.startswith("Gebruik: ")
