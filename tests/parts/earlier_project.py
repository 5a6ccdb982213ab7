"""What a project has that was rendered and used at an earlier commit; see `tests/update/earlier/README.md`."""

import shutil
from pathlib import Path

FILES = Path(__file__).parents[1] / "update" / "earlier" / "48701f0"


def put_into(project: Path) -> None:
    """Put the settings, prompts, answers, votes and the card of the earlier project over a new one (same slug)."""
    shutil.copytree(FILES, project, dirs_exist_ok=True)
    (project / "settings.toml").unlink(missing_ok=True)  # it has settings.toml
