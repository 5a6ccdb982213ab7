"""The code behind the scripts: what they share here, and a package per step."""

from pathlib import Path

# Here, so that every script says it: after an interrupted update an old script may fail at its first import.
if (Path(__file__).resolve().parents[1] / ".kto-update" / "journal.json").is_file():
    from kto.texts import t

    raise SystemExit(t("technical.update_interrupted"))
