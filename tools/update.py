"""Bring a project to the code of this template: `python3 start.py update PATH [--dry-run]`.

`kto/` is replaced whole. Scripts that nobody edited are replaced; the new version of an edited one is laid beside it.
Settings, prompts, pages, cards and data are never opened for writing.

Everything is prepared in `.kto-update/`. The update begins when the old `kto/` moves there, and is complete when the
new one takes its place, which is the last step. In between, scripts import `kto.py`, which says that an update was
interrupted; Python prefers the folder wherever there is one. The same command finishes an interrupted update.
"""

import ast
import hashlib
import itertools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
TEMPLATE = "{{cookiecutter.project_slug}}"
STAGING = ".kto-update"
JOURNAL, REPORT = "journal.json", "report.txt"
STAND_IN = (
    '"""Stands in for the package `kto` while an update of this project is not finished."""\n\n'
    'raise SystemExit("An update of this project was interrupted. Run the same update command again to finish it.")\n'
)
PROJECT_FILES = ("README.md", "TRANSLATING.md", "settings.toml", "project.toml", "texts.yaml")
PROJECT_FOLDERS = ("prompts", "publish", "community", "dataset", "space", "data")
VOTING_PAGE = "publish/voting/page.json"
"""Made of texts and settings, so a project that has none gets one; `check.py pages` keeps it up to date."""
CARRIED = ("kto/made_pages.json", "kto/english_prompts.json")
"""Describe the pages and prompts of the project, so they go into the new `kto/` as they are."""
RENDERED = (*CARRIED, "kto/README.md", "kto/texts.yaml", "kto/text_names.json")
"""Files in `kto/` that differ between projects."""
DEPENDENCIES = ("[project]", "[dependency-groups]", "[tool.uv]")
"""Tables of `pyproject.toml` that say which packages are installed."""
MOVED = {
    "make_prompts.py": ("generate.py", "prompts"),
    "update_pages.py": ("check.py", "pages"),
    "hub_job.py": ("generate.py", "job"),
    "argilla_local/server.py": ("vote.py",),
    "local_models/serve.py": ("kto/ask/serve.py",),
}
FORWARDER = '"""Moved: call `uv run '


class CannotUpdateError(Exception):
    """The project cannot be updated; the message says why in a sentence."""


def forwarder(path: str) -> str:
    """Return the script that stands where one was that has moved."""
    script, *command = MOVED[path]
    program = '"uv", "run"' if script.startswith("kto/") else "sys.executable"  # it has an environment of its own
    words = "".join(f'"{word}", ' for word in command)
    return (
        f'{FORWARDER}{" ".join(MOVED[path])}`."""\n'
        "import pathlib, signal, subprocess, sys  # noqa: E401\n"
        f"sys.path.insert(0, str(pathlib.Path(__file__).resolve(){'.parent' * (1 + path.count('/'))}))\n"
        "import kto  # noqa: E402, F401 - says it, where an update was interrupted\n"
        "signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command\n"
        f'sys.exit(subprocess.call([{program}, f"{{sys.path[0]}}/{script}", {words}*sys.argv[1:]]))\n'
    )


def is_ours(path: str) -> bool:
    """Tell whether a file of the template, by its path in the repository, is ours and the same in every project."""
    name = path.removeprefix(f"{TEMPLATE}/")
    return (
        path.startswith(TEMPLATE)
        and not name.startswith("{%")
        and name not in (*PROJECT_FILES, *RENDERED)
        and name.partition("/")[0] not in PROJECT_FOLDERS
    )


def with_unix_ends(content: bytes) -> bytes:
    """Return a text file as it is in a checkout of Linux."""
    return content.replace(b"\r\n", b"\n")


def print_of(path: str, content: bytes) -> str:
    """Return the fingerprint of a file; that of a notebook is of its code, which no answer changes."""
    text = with_unix_ends(content).decode("utf-8", errors="replace").rstrip("\n")
    if path.endswith(".ipynb"):
        try:
            cells = json.loads(re.sub(r"\{\{.*?\}\}", "[]", text) if "{{" in text else text)["cells"]
            text = json.dumps(["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"])
        except (ValueError, KeyError, TypeError):
            pass
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def prints_of(path: str, content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the name and fingerprint of a file, and of the tables of `pyproject.toml` that are replaced alone."""
    yield path, print_of(path, content)
    if path == "pyproject.toml":
        for header, table in toml_tables(content.decode("utf-8")).items():
            if header in DEPENDENCIES:
                yield f"{path} {header}", print_of(path, table.encode())


def toml_tables(text: str) -> dict[str, str]:
    """Return the text of each table of a TOML file by its header; a comment above a header is in the table before."""
    return {table.partition("\n")[0].strip(): table for table in re.split(r"(?m)^(?=\[)", text.replace("\r\n", "\n"))}


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


def render(answers: dict[str, Any], staging: Path) -> Path:
    """Render a project with these answers below `staging`; return its folder."""
    from cookiecutter.main import cookiecutter

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
    shutil.rmtree(Path(made, "kto", "__pycache__"), ignore_errors=True)
    return Path(made)


def read_answers(project: Path) -> tuple[dict[str, Any], list[str]]:
    """Return the answers that a project was rendered with, and the catalogues of its texts, first choice first."""
    path = project / "settings.toml" if (project / "settings.toml").exists() else project / "project.toml"
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        facts, language, generation = settings["project"], settings["language"], settings.get("generation", {})
        chain = language.get("texts") or [language["tag"]]
        models = generation.get("models", [])
        answers = {
            "language": chain[0] if (REPOSITORY / "languages" / f"{chain[0]}.yaml").is_file() else language["tag"],
            "domain": facts["domain"],
            "project_name": facts["name"],
            "project_slug": facts["slug"],
            "hub_owner": facts.get("hub_owner", ""),
            "inference": generation.get("inference", "huggingface"),
            "models": ", ".join(models) if isinstance(models, list) else str(models),
            "system_prompt": "as in the project",
            "prompts": "starter",
            "license": facts["license"],
            "_task": settings.get("annotation", {}).get("task", 1),
        }
    except KeyError as error:
        raise CannotUpdateError(f"{path.name} has no {error}.") from None
    except ValueError as error:  # neither TOML nor UTF-8
        raise CannotUpdateError(f"{path.name} cannot be read: {error}.") from None
    return answers, chain


def missing_imports(script: Path, root: Path, packages: Collection[str]) -> list[str]:
    """Return what a script imports from our modules (`packages`) that `root` lacks, or why it cannot be read."""
    try:
        tree = ast.parse(script.read_bytes())
    except (SyntaxError, ValueError) as error:
        return [str(error)]
    wanted = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted += [(node.module, name.name) for name in node.names]
        elif isinstance(node, ast.Import):
            wanted += [(name.name, "") for name in node.names]
    ours = [(module, name) for module, name in wanted if module.split(".")[0] in packages]
    return [f"{module}.{name}".rstrip(".") for module, name in ours if not has_name(root, module, name)]


def has_name(root: Path, module: str, name: str) -> bool:
    """Tell whether a module is there and defines, or imports, a name."""
    path = root.joinpath(*module.split("."))
    if name and ((path / name).is_dir() or (path / f"{name}.py").is_file()):
        return True
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    if not file.is_file() or name in ("", "*"):
        return file.is_file()
    defined = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            defined.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
    return name in defined


def with_missing_lines(old: str, new: str) -> tuple[str, str]:
    """Return an edited `.gitignore` with the lines that it lacks, and a sentence that names them."""
    have = {line.strip() for line in old.splitlines()}
    missing = [line for line in new.splitlines() if line.strip() and line[0] != "#" and line.strip() not in have]
    if not missing:
        return old, ""
    return old.rstrip("\n") + "".join(f"\n{line}" for line in missing) + "\n", f"Added to it: {', '.join(missing)}."


def with_new_packages(old: str, new: str, unedited: Collection[str]) -> tuple[str, str]:
    """Return an edited `pyproject.toml` with what the new code needs, and what to say about it.

    Unedited tables (`unedited`) are replaced. Where `[project]` or `[tool.uv]` is edited, both stay, because the
    versions in them belong together; then packages that are missing are added, and older versions are named.
    """
    try:
        before, wanted = tomllib.loads(old), tomllib.loads(new)
        tables = [table for table in DEPENDENCIES if table in unedited]
        if {"[project]", "[tool.uv]"} <= {*tables}:
            text, said = old, [f"Its unedited tables are the new ones: {', '.join(tables)}."]
            for header in tables:
                table = toml_tables(old)[header]
                text = text.replace(table, toml_tables(new)[header].rstrip("\n") + table[len(table.rstrip("\n")) :])
        else:
            text, added = with_dependencies(old, before, wanted)
            said = [f"Added to its dependencies: {', '.join(added)}."] if added else []
        theirs, ours = pins(tomllib.loads(text)), pins(wanted)
    except (tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as error:
        return old, f"It cannot be read: {error!r}."
    older = [
        f"{name} {version} (now {ours[name]})"
        for name, version in sorted(theirs.items())
        if ours.get(name, version) != version
    ]
    said += [f"It asks for other versions than this template: {', '.join(older)}."] if older else []
    return text, " ".join(said)


def with_dependencies(text: str, before: Mapping, wanted: Mapping) -> tuple[str, list[str]]:
    """Return a `pyproject.toml` with the dependencies that it lacks, and these."""
    names = {package(requirement) for requirement in before["project"].get("dependencies", [])}
    missing = [each for each in wanted["project"]["dependencies"] if package(each) not in names]
    lines = "".join(f"    {json.dumps(requirement)},\n" for requirement in missing)
    changed = re.sub(r"(?m)^dependencies = \[[ \t]*\n?", lambda match: f"{match[0].rstrip()}\n{lines}", text, count=1)
    expected = sorted([*before["project"].get("dependencies", []), *missing])
    if sorted(tomllib.loads(changed)["project"].get("dependencies", [])) != expected:
        raise KeyError(f"dependencies = [ … ], which lacks {', '.join(missing)}")
    return changed, missing


def package(requirement: str) -> str:
    """Return the normalised name of the package that a requirement names."""
    return re.split(r"[^A-Za-z0-9._-]", requirement.strip())[0].lower().replace("_", "-")


def pins(pyproject: Mapping) -> dict[str, str]:
    """Return the version of each package that a `pyproject.toml` fixes with `==`."""
    requirements = [*pyproject.get("tool", {}).get("uv", {}).get("constraint-dependencies", [])]
    for group in pyproject.get("dependency-groups", {}).values():
        requirements += [requirement for requirement in group if isinstance(requirement, str)]
    requirements += pyproject["project"].get("dependencies", [])
    exact = (re.match(r"[^=;]+==\s*([^\s;,]+)", requirement) for requirement in requirements)
    return {package(match[0]): match[1] for match in exact if match}


def read_yaml(path: Path) -> object:
    """Return what is in a YAML file; a file of the project that cannot be read ends the update."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError) as error:
        raise CannotUpdateError(f"{path.name} cannot be read: {' '.join(str(error).split())}.") from None


def texts_file(texts: Mapping[str, object], head: Path) -> bytes:
    """Return a `texts.yaml` with these texts by dotted key, below the head of a new one."""
    own: dict = {}
    for key, text in texts.items():
        *sections, name = key.split(".")
        node = own
        for section in sections:
            node = node.setdefault(section, {})
        node[name] = text
    said = yaml.safe_dump(own, allow_unicode=True, sort_keys=False, width=1000) if own else ""
    return (head.read_text(encoding="utf-8") + said).encode()


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in the files of a folder, by path, without bytecode and with the line ends of Linux."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and "__pycache__" not in file.parts)
    return {file.relative_to(folder).as_posix(): with_unix_ends(file.read_bytes()) for file in files}


def version_of(folder: Path) -> str:
    """Return the version of a project; those before 0.2.0 have no file for it."""
    file = folder / "kto" / "VERSION"
    return file.read_text(encoding="utf-8").strip() if file.is_file() else "0.1.0"


def numbers(version: str) -> list[int]:
    """Return a version for comparison."""
    return [int(part) for part in re.findall(r"\d+", version)]


@dataclass
class Plan:
    """The steps of an update, with the new files ready in `staging`, and what to tell about it."""

    project: Path
    staging: Path
    steps: list[list[str]] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        versions = json.loads((REPOSITORY / "tools" / "versions.json").read_text(encoding="utf-8"))
        answers, chain = read_answers(self.project)
        theirs = ("settings.toml", "project.toml", *(f"{folder}/" for folder in PROJECT_FOLDERS), "README.md")
        self.theirs = [path for path in theirs if (self.project / path).exists()]
        self.new = render(answers, self.staging)
        self.prints: dict[str, list[str]] = versions["files"]
        self.packages = {path.split("/")[0].removesuffix(".py") for path in self.prints}
        self.versions = version_of(self.project), version_of(self.new)
        if numbers(self.versions[0]) > numbers(self.versions[1]):
            raise CannotUpdateError(
                f"The project has version {self.versions[0]}, and this copy of the template only {self.versions[1]}."
            )
        self._read_texts(set(versions["texts"].split()), {*chain, "en"})
        self._plan()

    def _read_texts(self, known: set[str], chain: set[str]) -> None:
        """Sort the texts of the project into those of a catalogue, of whatever version, and its own."""
        for tag in chain:
            catalogue = REPOSITORY / "languages" / f"{tag}.yaml"
            if catalogue.is_file():
                known |= {print_of_text(*text) for text in flat_texts(read_yaml(catalogue))}
        self.current = dict(flat_texts(read_yaml(self.new / "kto" / "texts.yaml")))
        known |= {print_of_text(*text) for text in self.current.items()}
        self.whole = self.project / "kto" / "texts.yaml"
        if not self.whole.is_file():  # before there were two files
            self.whole = self.project / "texts.yaml"
        texts = dict(flat_texts(read_yaml(self.whole))) if self.whole.is_file() else {}
        self.own_texts = {key: text for key, text in texts.items() if print_of_text(key, text) not in known}
        self.paragraphs = [
            re.sub(r"\\\{.+?\\\}", "[^`\n]+", re.escape(paragraph))  # {file.settings}, whatever file that was
            for key, text in texts.items()
            if key.startswith("notebook.") and key not in self.own_texts
            for paragraph in str(text).strip().split("\n\n")
        ]

    def is_unedited(self, path: str, content: bytes) -> bool:
        """Tell whether a file is as some version of the template had it."""
        if path in MOVED and content.startswith(FORWARDER.encode()):
            return True
        if path.endswith(".ipynb") and print_of(path, content) in self.prints.get(path, ()):
            cells = json.loads(content)["cells"]
            words = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] != "code")
            words = re.sub(r"</?(div|span)[^>]*>", "", words)  # of languages that are written from right to left
            paragraphs = {text.lstrip("# ").strip() for text in words.split("\n\n")} - {""}
            return all(any(re.fullmatch(known, text) for known in self.paragraphs) for text in paragraphs)
        return print_of(path, content) in self.prints.get(path, ())

    def free_name(self, path: str, mark: str, content: bytes = b"") -> str:
        """Return a name like `export.new.py` under which nobody has anything else than this, or our own."""
        stem, _, suffix = path.rpartition(".")
        between = suffix in ("py", "ipynb", "yaml") and not path.startswith(("tests/", "."))  # pytest collects no .new
        for number in itertools.count(1):
            ending = mark if number == 1 else f"{mark}{number}"
            name = f"{stem}.{ending}.{suffix}" if between else f"{path}.{ending}"
            there = self.project / name
            if not there.exists():
                break
            if there.is_file() and (there.read_bytes() == content or self.is_unedited(path, there.read_bytes())):
                break
        return name

    def put(self, path: str, content: bytes) -> bool:
        """Write a file, unless it is the same already."""
        there = self.project / path
        if there.is_file() and with_unix_ends(there.read_bytes()) == content:
            return False
        file = self.staging / "new" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        self.steps.append(["put", path])
        return True

    def _plan(self) -> None:
        for path in CARRIED:
            if (self.project / path).is_file():
                shutil.copy2(self.project / path, self.new / path)
        old = contents(self.project / "kto")
        is_newest = old == contents(self.new / "kto")
        self._forward()  # first, for these scripts import no kto
        self._put_files(is_newest)
        self._remove_files()
        self._cut_texts()
        if is_newest and not self.steps:
            return
        self.steps.insert(0, ["away", "kto"])
        edited = [
            f"kto/{path}"
            for path, content in old.items()
            if f"kto/{path}" not in RENDERED and not self.is_unedited(f"kto/{path}", content)
        ]
        if self.own_texts and self.whole.parent.name == "kto":
            edited.append("kto/texts.yaml")
        if edited and not is_newest:
            name = self.free_name("kto", "old")
            self.steps.append(["keep", name])
            self.notes.append(
                f"kto/ was edited ({', '.join(edited)}), but is always replaced whole. The old one is kept as {name}/."
            )
        self.replaced.insert(0, "kto/")
        self.steps.append(["in", "kto"])
        (self.new / "kto").replace(self.staging / "kto")

    def _forward(self) -> None:
        for path in MOVED:
            file = self.project / path
            if not file.is_file() or not self.is_unedited(path, file.read_bytes()):
                continue
            if self.put(path, forwarder(path).encode()):
                self.moved.append(path)

    def _put_files(self, is_newest: bool) -> None:
        for path, content in contents(self.new).items():
            if path in PROJECT_FILES or (path.split("/")[0] in (*PROJECT_FOLDERS, "kto") and path != VOTING_PAGE):
                continue
            there = self.project / path
            if not there.is_file():
                self.put(path, content)
                self.added.append(path)
            elif path == VOTING_PAGE:
                continue
            elif self.is_unedited(path, there.read_bytes()):
                if self.put(path, content):
                    self.replaced.append(path)
            elif with_unix_ends(there.read_bytes()) != content and not is_newest:  # else it was offered before
                self._lay_beside(path, content)

    def _lay_beside(self, path: str, content: bytes) -> None:
        there, beside = self.project / path, self.free_name(path, "new", content)
        self.put(beside, content)
        note = f"{path} was edited, so it stays; the new one is {beside}."
        if path.endswith(".py"):
            missing = missing_imports(there, self.new, self.packages)
            runs = (
                f"does not run any more, because it needs {', '.join(missing)}"
                if missing
                else "finds all that it imports"
            )
            note += f" Yours {runs}. Move your changes into the new one and rename it to {Path(path).name}."
        elif path.endswith((".gitignore", "pyproject.toml")):
            old, new = with_unix_ends(there.read_bytes()).decode(), content.decode()
            if path == "pyproject.toml":
                prints = prints_of(path, old.encode())
                unedited = {
                    name.removeprefix(f"{path} ") for name, known in prints if known in self.prints.get(name, ())
                }
                text, said = with_new_packages(old, new, unedited)
            else:
                text, said = with_missing_lines(old, new)
            ends = "\r\n" if b"\r\n" in there.read_bytes() else "\n"
            if text != old:
                self.put(path, text.replace("\n", ends).encode())
            note += f" {said}".rstrip()
        self.notes.append(note)

    def _remove_files(self) -> None:
        for path in self.prints:
            there = self.project / path
            if path.startswith("kto/") or (self.new / path).is_file() or not there.is_file():
                continue
            is_unedited = self.is_unedited(path, there.read_bytes())
            if is_unedited and path not in MOVED:
                self.steps.append(["remove", path])
                self.removed.append(path)
            elif not is_unedited:
                missing = missing_imports(there, self.new, self.packages) if path.endswith(".py") else []
                note = f"{path} was edited, so it stays; this version has none."
                if path in MOVED:
                    note = f"{path} was edited, so it stays; `{' '.join(MOVED[path])}` does its work now."
                if missing:
                    note += f" Yours does not run any more, because it needs {', '.join(missing)}."
                self.notes.append(note)

    def _cut_texts(self) -> None:
        texts = self.project / "texts.yaml"
        if self.whole != texts or not texts.is_file():
            return
        own = {key: text for key, text in self.own_texts.items() if key in self.current}
        kept = self.free_name("texts.yaml", "old", texts.read_bytes())
        self.put(kept, texts.read_bytes())
        self.put("texts.yaml", texts_file(own, self.new / "texts.yaml"))
        self.notes.append(
            f"texts.yaml has only your own sentences now ({len(own)}); all others are in kto/texts.yaml. "
            f"The old file is {kept}; delete it when you have looked."
        )

    def report(self, changes: str | None) -> str:
        """Return what an update changes, what stays, and what is left to do; `changes` are those not committed."""
        old, new = self.versions
        lines = [f"{self.project.name}: version {new}" if old == new else f"{self.project.name}: {old} → {new}"]
        headings = {
            "Replaced": self.replaced,
            "New": self.added,
            "Removed, because nothing uses them any more": self.removed,
            "Yours, and not touched": self.theirs,
        }
        for heading, paths in headings.items():
            lines += ["", f"{heading}:", wrapped(", ".join(paths))] if paths else []
        lines += ["", "Moved; the old names still work:"] if self.moved else []
        lines += [f"  {path} → {' '.join(MOVED[path])}" for path in self.moved]
        todo = [*self.notes, f"{REPOSITORY / 'CHANGELOG.md'} says what else a version asks of you."]
        todo.append("Run `uv run check.py pages`: README.md and pages that you did not edit get the new words.")
        todo.append("Run `uv run check.py`: it says whether everything can be used.")
        if changes is not None:
            before = " It shows also what you had not committed before." if changes else ""
            todo.append(f"Look at the changes with `git diff`, then commit them.{before}")
        return "\n".join([*lines, "", "What is left to do:", *(wrapped(note, "  - ") for note in todo)])


def wrapped(text: str, mark: str = "  ") -> str:
    """Return a text in lines of 110 letters, indented."""
    return textwrap.fill(
        text,
        110,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def apply(project: Path, after: Callable[[int], None] = lambda step: None) -> None:
    """Do what the journal says, passing over what is done already; `after` is called after each step."""
    staging = project / STAGING
    for number, (what, path) in enumerate(json.loads((staging / JOURNAL).read_text(encoding="utf-8"))):
        target, fresh, former = project / path, staging / "new" / path, staging / "kto.old"
        if what == "away" and target.exists() and (staging / "kto").exists():
            target.replace(former)
        elif what == "in" and (staging / "kto").exists():
            (staging / "kto").replace(target)
        elif what == "keep" and former.exists():
            former.replace(target)
        elif what == "put" and fresh.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            fresh.replace(target)
        elif what == "remove":
            target.unlink(missing_ok=True)
        after(number)
    discard(project)


def discard(project: Path) -> None:
    """Remove what an update has prepared."""
    (project / "kto.py").unlink(missing_ok=True)
    (project / STAGING / JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(project / STAGING, ignore_errors=True)


def has_begun(project: Path) -> bool:
    """Tell whether an interrupted update has changed anything; one that has not is planned anew."""
    staging = project / STAGING
    return (staging / JOURNAL).is_file() and not ((staging / "kto").is_dir() and (project / "kto").is_dir())


def finish(project: Path) -> None:
    """Do the steps of the journal; say what to do where the disk or the system refuses one."""
    try:
        apply(project)
    except OSError as error:
        if has_begun(project):
            raise CannotUpdateError(
                f"The update was interrupted: {error}. Put that right and run the same command again; it goes on where "
                "it stopped, and until then the scripts of the project say so."
            ) from None
        discard(project)
        raise CannotUpdateError(
            f"kto/ cannot be replaced: {error}. Stop everything that runs in the project. Nothing was changed."
        ) from None


def git_status(project: Path) -> str | None:
    """Return what is not committed in the project; None where there is no git."""
    command = ["git", "--no-optional-locks", "-C", str(project), "status", "--porcelain", "--", "."]
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def check_project(project: Path) -> None:
    """Refuse a folder that is no project, or one in which an update cannot be noted."""
    settings = [project / name for name in ("settings.toml", "project.toml")]
    if not (project / "kto").is_dir() or not any(path.is_file() for path in settings):
        raise CannotUpdateError(
            f"{project} is no project of this template: it needs a folder kto/ and a settings.toml. Name the folder "
            "that has both."
        )
    stand_in = project / "kto.py"
    if stand_in.exists() and stand_in.read_bytes() != STAND_IN.encode():
        raise CannotUpdateError("An update needs the name kto.py for itself. Rename your kto.py.")


def update(project: Path, dry_run: bool) -> None:
    """Plan the update, tell it, and do it."""
    staging = project / STAGING
    if has_begun(project):
        if dry_run:
            raise CannotUpdateError("An update was interrupted. Run this without --dry-run to finish it.")
        report = (staging / REPORT).read_text(encoding="utf-8")
        finish(project)
        print(f"{report}\n\nThe update that was interrupted is finished.")
        return
    check_project(project)
    changes = git_status(project)
    if dry_run:
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(project, Path(folder))
    else:
        discard(project)
        try:
            staging.mkdir()
            plan = Plan(project, staging)
            (staging / REPORT).write_text(plan.report(changes), encoding="utf-8")
            (project / "kto.py").write_text(STAND_IN, encoding="utf-8", newline="\n")
            draft = staging / "journal.part"
            draft.write_text(json.dumps(plan.steps), encoding="utf-8")
            draft.replace(staging / JOURNAL)
        except BaseException:
            discard(project)
            raise
    if not plan.steps:
        print(f"{project.name} has the code of this version ({plan.versions[1]}) already.")
        if not dry_run:
            discard(project)
        return
    if not dry_run:
        finish(project)
    print(plan.report(changes))
    print("\nThis is what an update does. Nothing was changed." if dry_run else "\nUpdated.")


def main(arguments: list[str]) -> int:
    """Update the project; return the exit status."""
    paths = [argument for argument in arguments if argument != "--dry-run"]
    if len(paths) != 1 or paths[0].startswith("-"):
        print("Name the project: python3 start.py update PATH [--dry-run]", file=sys.stderr)
        return 2
    try:
        update(Path(paths[0]).resolve(), "--dry-run" in arguments)
    except CannotUpdateError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("The update was interrupted. Run the same command again.", file=sys.stderr)
        return 130
    except Exception as error:  # a full disk, or cookiecutter; nothing has been changed yet
        print(f"The update cannot be prepared: {error}. Nothing was changed.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", errors="replace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
