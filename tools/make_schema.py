"""Write `kto/settings.schema.json` from kto/settings.py, for completion and help in editors.

    python tools/make_schema.py

Without `const`, for editors that read draft 4, and without null, which TOML does not have.
"""

import json
import sys
from pathlib import Path
from typing import Any

TEMPLATE = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}"
SCHEMA = TEMPLATE / "kto" / "settings.schema.json"


def plain(schema: Any) -> Any:
    """Return a part of pydantic's schema without titles, nulls and constants."""
    if isinstance(schema, list):
        return [plain(part) for part in schema if part != {"type": "null"}]
    if not isinstance(schema, dict):
        return schema
    schema = {name: plain(part) for name, part in schema.items() if not (name == "title" and isinstance(part, str))}
    if schema.get("default", 0) is None:
        del schema["default"]
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if len(schema.get("anyOf", ())) == 1:
        schema |= schema.pop("anyOf")[0]
    return schema


def schema() -> str:
    """Return the schema as the file has it."""
    sys.path.insert(0, str(TEMPLATE))
    from kto.settings import RENAMED, Settings

    whole = plain(Settings.model_json_schema())
    for (section, old), new in RENAMED.items():
        settings = whole["$defs"][section.title()]["properties"]
        settings[old] = settings[new] | {"description": f"Earlier name of {new}", "deprecated": True}
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema(), encoding="utf-8", newline="\n")
