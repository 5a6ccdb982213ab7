"""What a project has that was rendered and used at an earlier commit; see `tests/update/earlier/README.md`."""

import shutil
import zipfile
from pathlib import Path

EARLIER = Path(__file__).parent.parent / "update" / "earlier"
FILES = EARLIER / "48701f0"
EDITED = ("export.py", ".gitignore", "pyproject.toml", "tests/test_project.py")


def put_into(project: Path) -> None:
    """Put the settings, prompts, answers, votes and the card of the earlier project over a new one (same slug)."""
    shutil.copytree(FILES, project, dirs_exist_ok=True)
    (project / "settings.toml").unlink(missing_ok=True)  # it has settings.toml


def put_argilla(project: Path) -> None:
    """Put the Argilla of this machine into an earlier project, with people and votes, and what was exported from it."""
    with zipfile.ZipFile(EARLIER / "argilla-48701f0.zip") as archive:
        archive.extractall(project)


def rendered(project: Path) -> Path:
    """Unpack a Dutch project as it was rendered."""
    with zipfile.ZipFile(EARLIER / "project-48701f0.zip") as archive:
        archive.extractall(project)
    return project


def put_language(project: Path, tag: str) -> None:
    """Put the settings, texts and notebook of another language over a rendered project."""
    with zipfile.ZipFile(EARLIER / "languages-48701f0.zip") as archive:
        for name in archive.namelist():
            if name.startswith(f"{tag}/"):
                (project / name.removeprefix(f"{tag}/")).write_bytes(archive.read(name))


def edited(project: Path) -> Path:
    """Unpack a project in which people have asked, voted and edited: a sentence and the files in `EDITED`."""
    put_into(rendered(project))
    for name in EDITED:
        with (project / name).open("a", encoding="utf-8") as file:
            file.write("\n# ours\n")
    text = (project / "texts.yaml").read_text(encoding="utf-8")
    line = next(line for line in text.splitlines() if line.startswith("  vote:"))
    (project / "texts.yaml").write_text(text.replace(line, "  vote: Wat vind je?", 1), encoding="utf-8")
    return project
