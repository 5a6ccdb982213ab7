"""Update the list of scripts and modules in the project's `kto/README.md` from the first line of each docstring."""

import ast
import os
import re
from pathlib import Path

KTO = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}" / "kto"


def modules() -> list[str]:
    """Return a line of Markdown per script, module and package."""
    lines = []
    for path in [*sorted(KTO.parent.glob("*.py")), *sorted(KTO.rglob("*.py"))]:
        name = os.path.relpath(path, KTO).replace(os.sep, "/").removesuffix("__init__.py")
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if name:
            lines.append(f"- `{name}`: {said.splitlines()[0]}")
    return lines


def main() -> None:
    """Write the file."""
    path = KTO / "README.md"
    text = path.read_text(encoding="utf-8")
    new = re.sub(r"(?s)(## Modules\n\n).*", lambda match: match[1] + "\n".join(modules()) + "\n", text)
    path.write_text(new, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
