"""Files of one JSON object per line that people may edit: every line is checked, and all wrong ones are named."""

import json
from pathlib import Path

from kto.errors import UserError
from kto.tables import Row, reading
from kto.texts import t

try:
    from pydantic import BaseModel, ConfigDict, ValidationError
    from pydantic import Field as Field
except ModuleNotFoundError as error:
    raise SystemExit(t("technical.no_package", name=error.name)) from None

_SHOWN = 5  # bad lines that a message lists


class Line(BaseModel):
    """One line of such a file; fields that it does not know are wrong."""

    model_config = ConfigDict(extra="forbid", strict=True)


def read(path: Path, kind: type[Line], error: str, **values: object) -> list[Row]:
    """Return the lines of a file, [] if there is none.

    Raises `UserError`: the file cannot be read, or lines are wrong; then with the text `error`, which has the
    placeholders `path` and `problems` and those of `values`.
    """
    with reading(path):
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    lines: list[Row] = []
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            kind.model_validate_json(line)
            lines.append(json.loads(line))
        except ValidationError as invalid:
            fields = dict.fromkeys(str(problem["loc"][0]) for problem in invalid.errors() if problem["loc"])
            names = [json.dumps(field, ensure_ascii=False) for field in fields]
            problems.append(f"  - {number}: {', '.join(names) or 'JSON'}")
    if problems:
        shown = "\n".join(problems[:_SHOWN] + ["  - …"] * (len(problems) > _SHOWN))
        raise UserError(error, path=path, problems=shown, **values)
    return lines
