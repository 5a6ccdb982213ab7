"""Which module may import which: the arrows of docs/architecture.md, read from the source."""

import ast
import sys
from collections.abc import Iterator

import pytest
from rendering import TEMPLATE

FILES = {
    ".".join(path.relative_to(TEMPLATE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in [*TEMPLATE.glob("*.py"), *(TEMPLATE / "kto").rglob("*.py")]
}
COOKIECUTTER = {"requests", "rich", "jinja2", "click", "yaml", "slugify", "arrow", "binaryornot", "cookiecutter"}
COOKIECUTTER |= {"markdown_it"}  # rich asks for it
"""What a bare install of cookiecutter brings."""
BARE = (
    *("kto.pages", "kto.texts", "kto.model_names", "kto.hub_lookup", "kto.ask.prompt_files"),
    *("kto.examples", "kto.answer_markdown", "kto.vote.page_json", "kto.questions"),
)
"""Modules that the template itself uses."""
NOT_YET: set[tuple[str, str]] = set()
"""Imports that break a rule and are still to go; never add one."""


def imports(module: str, *, top_only: bool = False) -> Iterator[str]:
    """Yield what a module imports when it runs, `a.b` for `from a import b` where that is a module of ours.

    What only the type checker reads does not count; with `top_only` neither does what a function imports.
    """
    waiting: list[ast.AST] = [ast.parse(FILES[module].read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, module
            for name in node.names:
                whole = f"{node.module}.{name.name}"
                yield whole if whole in FILES else node.module
        elif not (top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)):
            waiting += ast.iter_child_nodes(node)


def breaking(pairs: Iterator[tuple[str, str]]) -> set[tuple[str, str]]:
    return set(pairs) - NOT_YET


def has_main(module: str) -> bool:
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


def reached(module: str) -> set[str]:
    """Return everything that comes along when a module is imported, with the packages that hold it."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            if name in FILES:
                waiting += [*imports(name, top_only=True), *filter(FILES.__contains__, [name.rpartition(".")[0]])]
    return found


def test_asking_knows_nothing_of_voting() -> None:
    asking = [module for module in FILES if module.startswith("kto.ask")]
    assert not breaking((module, name) for module in asking for name in imports(module) if name.startswith("kto.vote"))


def test_the_dataset_needs_no_argilla() -> None:
    """Only `kto.vote` imports Argilla's SDK, nothing private of it, and only in functions: it takes a second."""
    assert any(module.startswith("kto.dataset") for module in FILES)
    pairs = [(module, name) for module in FILES for name in imports(module) if name.split(".")[0] == "argilla"]
    assert {name for _, name in pairs} == {"argilla"}
    assert not breaking(pair for pair in pairs if not pair[0].startswith("kto.vote."))
    assert not [module for module in FILES if "argilla" in imports(module, top_only=True)]


def test_only_commands_import_the_command_line() -> None:
    others = [module for module in FILES if not has_main(module) and module != "kto.command_line"]
    assert not breaking((module, name) for module in others for name in imports(module) if name == "kto.command_line")


@pytest.mark.parametrize("module", BARE)
def test_what_the_template_uses_needs_cookiecutter_alone(module: str) -> None:
    needs = {name.split(".")[0] for name in reached(module)} - sys.stdlib_module_names - {"kto"}
    assert needs <= COOKIECUTTER
    others = reached(module) - {*BARE, module.rpartition(".")[0]}
    assert not {name for name in others if name.startswith(("kto.ask", "kto.vote", "kto.dataset"))}


def test_no_module_imports_itself_through_others() -> None:
    ours = {module: {name for name in imports(module, top_only=True) if name in FILES} - {module} for module in FILES}
    left = dict(ours)
    while ends := [module for module, needs in left.items() if not needs & left.keys()]:
        for module in ends:
            del left[module]
    assert not left, f"import cycle among {sorted(left)}"


def test_the_list_of_what_is_still_to_go_is_short_and_true() -> None:
    for module, name in NOT_YET:
        assert name in imports(module), "it is gone: take it from the list"
