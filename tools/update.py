"""Bring a project to the code of this template: `python3 start.py update PATH [--dry-run]`.

`kto/` is replaced whole; scripts that nobody edited are replaced, beside an edited one the new one is laid. Settings,
prompts, pages, cards and data are never opened for writing. Everything is prepared in `.kto-update/`, then a journal is
written: after a kill the same command finishes.
"""

import ast
import hashlib
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
TEMPLATE = "{{cookiecutter.project_slug}}"
STAGING = ".kto-update"
JOURNAL = "journal.json"
THEIRS = ("README.md", "TRANSLATING.md", "settings.toml", "project.toml", "texts.yaml")
THEIR_FOLDERS = ("prompts", "publish", "community", "dataset", "space", "data")
KEPT = ("made_pages.json", "english_prompts.json")
"""What describes the pages and prompts of the project, and so stays as it is in `kto/`."""
RENDERED = ("kto/README.md", "kto/texts.yaml", "kto/made_pages.json", "kto/english_prompts.json", "kto/text_names.json")
MOVED = {
    "make_prompts.py": ("generate.py", "prompts"),
    "update_pages.py": ("check.py", "pages"),
    "hub_job.py": ("generate.py", "job"),
    "argilla_local/server.py": ("vote.py",),
    "local_models/serve.py": ("kto/ask/serve.py",),
}


def forwarder(path: str) -> str:
    """Return the script that stands where one was that has moved."""
    script, *command = MOVED[path]
    up = ".parent" * (1 + path.count("/"))
    program = '"uv", "run"' if script.startswith("kto/") else "sys.executable"
    words = "".join(f'"{word}", ' for word in command)
    return (
        f'"""Moved: call `uv run {" ".join(MOVED[path])}`."""\n'
        "import pathlib, subprocess, sys  # noqa: E401\n"
        f'sys.exit(subprocess.call([{program}, str(pathlib.Path(__file__).resolve(){up} / "{script}"), '
        f"{words}*sys.argv[1:]]))\n"
    )


def is_ours(path: str) -> bool:
    """Tell whether a file of the template, by its path in the repository, is ours and the same in every project."""
    name = path.removeprefix(f"{TEMPLATE}/")
    top = name.partition("/")[0]
    return (
        path.startswith(TEMPLATE)
        and not name.startswith("{%")
        and name not in (*THEIRS, *RENDERED)
        and top not in THEIR_FOLDERS
    )


def print_of(path: str, content: bytes) -> str:
    """Return the fingerprint of a file; of a notebook its code counts, which no answer changes."""
    text = content.decode("utf-8", errors="replace").replace("\r\n", "\n").rstrip("\n")
    if path.endswith(".ipynb"):
        try:
            cells = json.loads(re.sub(r"\{\{.*?\}\}", "[]", text) if "{{" in text else text)["cells"]
            text = json.dumps(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"])
        except (ValueError, KeyError, TypeError):
            pass
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flat_texts(node: object, path: str = "") -> Iterator[tuple[str, object]]:
    """Yield the dotted key and the value of each text; a list is one value."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from flat_texts(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def print_of_text(key: str, text: object) -> str:
    """Return the fingerprint of a text under its key."""
    said = text.rstrip("\n") if isinstance(text, str) else text
    return hashlib.sha256(json.dumps([key, said], default=str).encode()).hexdigest()[:10]


def render(project: Path, staging: Path) -> Path:
    """Render the project anew with its own answers below `staging`; return the new folder."""
    from cookiecutter.main import cookiecutter

    path = project / "settings.toml" if (project / "settings.toml").exists() else project / "project.toml"
    settings = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    facts, language, generation = settings["project"], settings["language"], settings.get("generation", {})
    chain = language.get("texts") or [language["tag"]]
    has_catalogue = (REPOSITORY / "languages" / f"{chain[0]}.yaml").is_file()
    models = generation.get("models", [])
    answers = {
        "language": chain[0] if has_catalogue else language["tag"],
        "domain": facts["domain"],
        "project_name": facts["name"],
        "project_slug": facts["slug"],
        "hub_owner": facts.get("hub_owner", ""),
        "inference": generation.get("inference", "huggingface"),
        "models": ", ".join(models) if isinstance(models, list) else str(models),
        "system_prompt": "as in the project",
        "prompts": "starter",
        "license": facts["license"],
    }
    template = json.loads((REPOSITORY / "cookiecutter.json").read_text(encoding="utf-8"))
    own = {name: template[name] for name in ("_extensions", "_copy_without_render")}
    own |= {name: "" for name in template if name.startswith("__check")}  # they were checked when they were given
    (staging / "answers.json").write_text(json.dumps({"cookiecutter": own | answers}), encoding="utf-8")
    config = staging / "config.yaml"
    config.write_text(json.dumps({"replay_dir": str(staging / "replay"), "cookiecutters_dir": str(staging)}), "utf-8")
    made = cookiecutter(
        str(REPOSITORY), replay=str(staging / "answers.json"), output_dir=str(staging / "made"),
        config_file=str(config), accept_hooks=False,
    )  # fmt: skip
    return Path(made)


def missing_imports(script: Path, root: Path) -> list[str]:
    """Return what an edited script takes from `kto` that is not in `root / "kto"`, or why it cannot be read."""
    try:
        tree = ast.parse(script.read_bytes())
    except (SyntaxError, ValueError) as error:
        return [str(error)]
    missing = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kto" and not node.level:
            missing += [f"{node.module}.{each.name}" for each in node.names if not _has(root, node.module, each.name)]
        elif isinstance(node, ast.Import):
            missing += [
                each.name for each in node.names if each.name.split(".")[0] == "kto" and not _has(root, each.name)
            ]
    return missing


def _has(root: Path, module: str | None, name: str = "") -> bool:
    path = root.joinpath(*str(module).split("."))
    if name and ((path / name).is_dir() or (path / f"{name}.py").is_file()):
        return True
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    if not file.is_file() or name in ("", "*"):
        return file.is_file()
    found = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {each.asname or each.name for each in node.names}
    return name in found


def with_missing(path: str, old: str, new: str) -> tuple[str, list[str]]:
    """Return an edited `.gitignore` or `pyproject.toml` with the lines or dependencies that it lacks, and these."""
    if path == ".gitignore":
        have = {line.strip() for line in old.splitlines()}
        lacking = [line for line in new.splitlines() if line.strip() and line[0] != "#" and line.strip() not in have]
        return old.rstrip("\n") + "".join(f"\n{line}" for line in lacking) + "\n", lacking
    try:
        had, wanted = (tomllib.loads(text)["project"].get("dependencies", []) for text in (old, new))
        names = {_package(each) for each in had}
        lacking = [each for each in wanted if _package(each) not in names]
        lines = "".join(f"    {json.dumps(each)},\n" for each in lacking)
        text = re.sub(r"(?m)^dependencies = \[[ \t]*\n?", lambda match: f"{match[0].rstrip()}\n{lines}", old, count=1)
        if sorted(tomllib.loads(text)["project"]["dependencies"]) == sorted([*had, *lacking]):
            return text, lacking
    except (tomllib.TOMLDecodeError, KeyError):
        pass
    return old, []


def _package(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0].lower().replace("_", "-")


def own_texts(old: str, texts: set[str], new: Path) -> str:
    """Return what a `texts.yaml` with all texts says in the project's own words, below the head of a new one."""
    current = dict(flat_texts(yaml.safe_load((new / "kto" / "texts.yaml").read_text(encoding="utf-8"))))
    own: dict = {}
    for key, text in flat_texts(yaml.safe_load(old)):
        if (
            key in current
            and print_of_text(key, text) not in texts
            and print_of_text(key, text) != print_of_text(key, current[key])
        ):
            *sections, name = key.split(".")
            node = own
            for section in sections:
                node = node.setdefault(section, {})
            node[name] = text
    said = yaml.safe_dump(own, allow_unicode=True, sort_keys=False, width=1000) if own else ""
    return (new / "texts.yaml").read_text(encoding="utf-8") + said


def plan(project: Path, staging: Path) -> tuple[list[list[str]], list[str]]:
    """Put everything that changes into `staging`; return the steps (`[what, path]`) and what to tell."""
    versions = json.loads((REPOSITORY / "tools" / "versions.json").read_text(encoding="utf-8"))
    new, ready = render(project, staging), staging / "new"
    known, steps, told = versions["files"], [], []
    shutil.rmtree(new / "kto" / "__pycache__", ignore_errors=True)
    for name in KEPT:
        if (project / "kto" / name).is_file():
            shutil.copy2(project / "kto" / name, new / "kto" / name)

    def is_unedited(path: str, content: bytes) -> bool:
        moved = path in MOVED and content.decode(errors="replace").replace("\r\n", "\n") == forwarder(path)
        return moved or print_of(path, content) in known.get(path, ())

    def put(path: str, content: bytes, what: str) -> None:
        if not (project / path).is_file() or (project / path).read_bytes() != content:
            (ready / path).parent.mkdir(parents=True, exist_ok=True)
            (ready / path).write_bytes(content)
            steps.append(["put", path])
            told.append(f"{path}: {what}")

    edited = [
        file.relative_to(project).as_posix()
        for file in sorted((project / "kto").rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
        and (path := file.relative_to(project).as_posix()) not in RENDERED
        and not is_unedited(path, file.read_bytes())
    ]  # fmt: skip
    steps += [["away", "kto"], ["in", "kto"]]
    told.append("kto/: replaced")
    if edited:
        told.append(f"kto/ was edited ({', '.join(edited)}): the old one is kept as kto.old/")
        steps.append(["keep", "kto"])
    for file in sorted(new.rglob("*")):
        path = file.relative_to(new).as_posix()
        if not file.is_file() or path in THEIRS or path.split("/")[0] in (*THEIR_FOLDERS, "kto"):
            continue
        content, there = file.read_bytes(), project / path
        if not there.is_file():
            put(path, content, "new")
        elif there.read_bytes() != content and is_unedited(path, there.read_bytes()):
            put(path, content, "replaced")
        elif there.read_bytes().replace(b"\r\n", b"\n") != content:
            beside = f"{path.removesuffix('.py')}.new.py" if path.endswith(".py") else f"{path}.new"
            missing = missing_imports(there, new) if path.endswith(".py") else []
            says = f" It does not run any more, for it needs {', '.join(missing)}." if missing else ""
            put(
                beside,
                content,
                f"the new {path}; yours is edited and stays.{says or ' It still imports.' * path.endswith('.py')}",
            )
            if path in (".gitignore", "pyproject.toml"):
                text, added = with_missing(path, there.read_text(encoding="utf-8"), content.decode())
                if added:
                    put(path, text.encode(), f"yours, with what it lacked: {', '.join(added)}")
    for path in known:
        there = project / path
        if path.startswith("kto/") or (new / path).is_file() or not there.is_file():
            continue
        if not is_unedited(path, there.read_bytes()):
            missing = missing_imports(there, new) if path.endswith(".py") else []
            says = f", and needs {', '.join(missing)}, which is gone" if missing else ""
            told.append(f"{path}: has no successor; yours is edited and stays{says}")
        elif path in MOVED:
            put(path, forwarder(path).encode(), f"calls {' '.join(MOVED[path])}, where it has moved")
        else:
            steps.append(["remove", path])
            told.append(f"{path}: removed")
    texts = project / "texts.yaml"
    if texts.is_file() and not (project / "kto" / "texts.yaml").is_file():
        old = texts.read_text(encoding="utf-8")
        put("texts.old.yaml", texts.read_bytes(), "your texts as they were")
        put("texts.yaml", own_texts(old, set(versions["texts"].split()), new).encode(), "only what you changed")
    (new / "kto").replace(staging / "kto")
    return steps, told


def apply(project: Path, after: Callable[[int], None] = lambda step: None) -> None:
    """Do what the journal says; what is done already is passed over. `after` is called after each step."""
    staging = project / STAGING
    for number, (what, path) in enumerate(json.loads((staging / JOURNAL).read_text(encoding="utf-8"))):
        target, fresh, former = project / path, staging / "new" / path, staging / "kto.old"
        if what == "away" and (staging / "kto").exists() and target.exists():
            target.replace(former)
        elif what == "in" and (staging / "kto").exists():
            (staging / "kto").replace(target)
        elif what == "keep" and former.exists():
            kept = next(path for n in range(1, 1000) if not (path := project / f"kto.old{n if n > 1 else ''}").exists())
            former.replace(kept)
        elif what == "put" and fresh.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(target)
        elif what == "remove":
            target.unlink(missing_ok=True)
        after(number)
    (staging / JOURNAL).unlink()
    shutil.rmtree(staging, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Update the project; return the exit status."""
    paths = [each for each in arguments if each != "--dry-run"]
    if len(paths) != 1 or paths[0].startswith("-"):
        print("Name the project: python3 start.py update PATH [--dry-run]", file=sys.stderr)
        return 2
    project = Path(paths[0]).resolve()
    if not (project / "kto").is_dir() and not (project / STAGING / JOURNAL).is_file():
        print(f"{project} is no project of this template: there is no kto/ in it.", file=sys.stderr)
        return 1
    staging = project / STAGING
    if (staging / JOURNAL).is_file():
        if "--dry-run" in arguments:
            print("An update was interrupted. Run this without --dry-run to finish it.")
            return 1
        apply(project)
        print("The update that was interrupted is finished.")
        return 0
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir()
    try:
        steps, told = plan(project, staging)
    except Exception as error:  # of cookiecutter, Jinja, TOML, YAML: nothing has been touched yet
        shutil.rmtree(staging, ignore_errors=True)
        print(f"The project cannot be read: {error!r}. Nothing was changed.", file=sys.stderr)
        return 1
    print("\n".join(told))
    if "--dry-run" in arguments:
        shutil.rmtree(staging, ignore_errors=True)
        print("Nothing was changed.")
        return 0
    draft = staging / "journal.part"
    draft.write_text(json.dumps(steps), encoding="utf-8")
    draft.replace(staging / JOURNAL)
    apply(project)
    print("Updated.")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
