"""`update_pages.py`: changed texts and settings come into the pages, and what people wrote there stays."""

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
    content = read_yaml(path)
    for name, text in texts.items():
        section, key = name.split("__")
        content[section][key] = text
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def update(project: Path) -> str:
    done = run(project, "update_pages.py")
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
        "community/guidelines.md": "Doe maar gewoon.",
        "community/announcement.md": "Doe mee!",
        "space/README.md": "Hier stemmen wij.",
        "dataset/README.md": "Beoordeelde antwoorden.",
    }.items():
        assert text in (project / name).read_text(encoding="utf-8"), name
        assert name in said
    assert "community/consent.md" not in said
    assert update(project) == UP_TO_DATE


def test_a_page_that_somebody_changed_stays_and_the_new_one_lies_beside_it(project: Path) -> None:
    readme = project / "README.md"
    ours = readme.read_text(encoding="utf-8") + "\nOnze eigen regel.\n"
    readme.write_text(ours, encoding="utf-8")
    assert update(project).count("README.new.md") == 1, "the new page is offered"
    change(project, readme__what="Wij verzamelen duimen.")
    assert "README.new.md" in update(project)
    assert readme.read_text(encoding="utf-8") == ours
    new = (project / "README.new.md").read_text(encoding="utf-8")
    assert "Wij verzamelen duimen." in new and "Onze eigen regel." not in new
    readme.write_text(new, encoding="utf-8")  # taken over
    (project / "README.new.md").unlink()
    assert update(project) == UP_TO_DATE
    change(project, readme__what="Nog een keer.")
    assert "README.md" in update(project)
    assert "Nog een keer." in readme.read_text(encoding="utf-8")
    assert not (project / "README.new.md").exists()


def test_line_ends_of_windows_are_no_change(project: Path) -> None:
    for name in ("README.md", "setup_argilla.ipynb", "texts.yaml"):
        path = project / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert update(project) == UP_TO_DATE
    change(project, readme__what="Wij verzamelen duimen.")
    assert "README.new.md" not in update(project)
    assert "Wij verzamelen duimen." in (project / "README.md").read_text(encoding="utf-8")


def test_numbers_in_the_card_stay(project: Path) -> None:
    card = project / "dataset" / "README.md"
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace("<!-- numbers -->\n", "<!-- numbers -->\n| 12 | 34 |\n"), encoding="utf-8")
    assert update(project) == UP_TO_DATE
    change(project, dataset_card__what="Beoordeelde antwoorden.")
    update(project)
    text = card.read_text(encoding="utf-8")
    assert "| 12 | 34 |" in text and "Beoordeelde antwoorden." in text


def test_an_owner_who_comes_later_is_in_the_card(project: Path) -> None:
    use(project, "project", hub_owner="ann")
    assert "dataset/README.md" in update(project)
    assert 'load_dataset("ann/kto-test"' in (project / "dataset" / "README.md").read_text(encoding="utf-8")
    assert DatasetCard.load(project / "dataset" / "README.md").data.to_dict()["license"] == "cc-by-4.0"
    assert "`hub_owner`" not in (project / "README.md").read_text(encoding="utf-8")


def test_a_page_that_was_removed_is_not_made_again(project: Path) -> None:
    (project / "community" / "consent.md").unlink()
    (project / "setup_argilla.ipynb").unlink()
    change(project, community__consent="Niets.")
    assert update(project) == UP_TO_DATE
    assert not (project / "community" / "consent.md").exists()


def test_a_translated_project_speaks_its_language(tmp_path: Path) -> None:
    project = render(tmp_path, language="gsw")
    listed = (project / "TRANSLATING.md").read_text(encoding="utf-8")
    assert "uv run update_pages.py" in listed and 'texts = ["gsw"]' in listed
    change(project, readme__what="Mir sammled Duume.")
    use(project, "language", texts=["gsw"])
    update(project)
    readme = (project / "README.md").read_text(encoding="utf-8")
    assert "Mir sammled Duume." in readme and "TRANSLATING.md" not in readme
    assert "speakers of Swiss German" in readme, "the part for outsiders"


@pytest.mark.parametrize(
    ("name", "bad", "said"),
    [
        ("README.md", b"\xff\xfe", "README.md"),
        ("texts.yaml", "readme: 1", "texts.yaml"),
    ],
)
def test_what_cannot_be_read_is_named(project: Path, name: str, bad: str | bytes, said: str) -> None:
    before = (project / "space" / "README.md").read_bytes()
    change(project, space__what="Hier stemmen wij.")
    (project / name).write_bytes(bad if isinstance(bad, bytes) else bad.encode())
    done = run(project, "update_pages.py")
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert (project / "space" / "README.md").read_bytes() == before


def test_without_its_memory_nothing_is_overwritten(project: Path) -> None:
    (project / "kto" / "made_pages.json").write_text(json.dumps([1]), encoding="utf-8")
    before = (project / "README.md").read_bytes()
    change(project, readme__what="Wij verzamelen duimen.")
    assert "README.new.md" in update(project)
    assert (project / "README.md").read_bytes() == before


def test_a_page_that_was_offered_and_removed_is_not_offered_again(project: Path) -> None:
    readme = project / "README.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "\nOnze eigen regel.\n", encoding="utf-8")
    assert "README.new.md" in update(project)
    assert "README.new.md" in update(project), "as long as it lies there"
    (project / "README.new.md").unlink()
    assert update(project) == UP_TO_DATE
    change(project, readme__what="Wij verzamelen duimen.")
    assert "README.new.md" in update(project), "there is something new"


def test_a_wrong_placeholder_is_named_with_its_text(project: Path) -> None:
    change(project, readme__what="Wij verzamelen {thema}.")
    done = run(project, "update_pages.py")
    assert done.returncode == 1
    assert "texts.yaml: “readme.what” uses {thema}" in done.stderr and "{language}, {domain}" in done.stderr


def test_the_check_looks_at_every_text(project: Path) -> None:
    path = project / "texts.yaml"
    content = read_yaml(path)
    del content["task"]["vote_help"]
    content["errors"]["no_rows"] = "Geen rijen in {pad}."
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    done = run(project, "check.py")
    assert done.returncode == 1
    assert "“task.vote_help”" in done.stderr and "“errors.no_rows” uses {pad}" in done.stderr


def test_what_people_write_into_the_offered_page_stays(project: Path) -> None:
    readme, beside = project / "README.md", project / "README.new.md"
    readme.write_text(readme.read_text(encoding="utf-8") + "\nOnze eigen regel.\n", encoding="utf-8")
    update(project)
    beside.write_text(beside.read_text(encoding="utf-8") + "\nOnze eigen regel.\n", encoding="utf-8")
    change(project, readme__what="Wij verzamelen duimen.")
    assert "README.new.md" in update(project)
    assert "Onze eigen regel." in beside.read_text(encoding="utf-8")


def test_a_mistake_in_the_middle_leaves_everything_as_it_was(project: Path) -> None:
    change(project, readme__what="Eerste.", space__what="Fout {naam}.")
    before = content(project)
    assert run(project, "update_pages.py").returncode == 1
    assert content(project) == before
    change(project, readme__what="Tweede.", space__what="Goed.")
    assert "README.new.md" not in update(project)
    assert "Tweede." in (project / "README.md").read_text(encoding="utf-8")


def test_other_models_come_into_the_card_until_the_first_export(project: Path) -> None:
    use(project, "generation", models=["acme/other"])
    update(project)
    card = (project / "dataset" / "README.md").read_text(encoding="utf-8")
    assert "`acme/other`" in card and "acme/one" not in card


def test_a_byte_order_mark_is_no_change(project: Path) -> None:
    path = project / "README.md"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert update(project) == UP_TO_DATE
