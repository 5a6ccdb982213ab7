"""Update the list of modules in the project's `kto/README.md` from the first line of each docstring."""

import ast
import re
from pathlib import Path

KTO = Path(__file__).resolve().parent.parent / "{{cookiecutter.project_slug}}" / "kto"


def modules() -> str:
    """Return a section of Markdown per folder, with a line for each module in it."""
    folders = [folder for folder in (KTO, *sorted(KTO.rglob("*/"))) if (folder / "__init__.py").exists()]
    return "\n\n".join(_section(folder) for folder in folders)


def _section(folder: Path) -> str:
    about = _first_line(folder / "__init__.py")
    head = f"### {folder.relative_to(KTO.parent).as_posix()}/\n\n" + (f"{about}\n\n" if folder != KTO else "")
    paths = sorted(path for path in folder.glob("*.py") if path.stem != "__init__")
    return head + "\n".join(f"- `{path.name}`: {_first_line(path)}" for path in paths)


def _first_line(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def main() -> None:
    """Write the file."""
    path = KTO / "README.md"
    text = path.read_text(encoding="utf-8")
    new = re.sub(r"(?s)(## Modules\n\n).*", lambda match: f"{match[1]}{modules()}\n", text)
    path.write_text(new, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
