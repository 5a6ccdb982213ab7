"""Count test functions and assertions at a commit, so that moving tests can be shown to lose none.

    python tools/count_tests.py [COMMIT]

An assertion is an `assert` statement, or a `pytest.raises`/`pytest.warns` block.
"""

import ast
import subprocess
import sys


def count(source: str) -> tuple[int, int]:
    """Return the number of test functions and of assertions in a module."""
    nodes = list(ast.walk(ast.parse(source)))
    functions = sum(
        isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_") for node in nodes
    )
    blocks = sum(
        isinstance(node, ast.Attribute) and node.attr in ("raises", "warns") and ast.unparse(node.value) == "pytest"
        for node in nodes
    )
    return functions, blocks + sum(isinstance(node, ast.Assert) for node in nodes)


def git(*arguments: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, encoding="utf-8").stdout


def main(commit: str = "HEAD") -> None:
    """Print the totals."""
    names = [name for name in git("ls-tree", "-r", "--name-only", commit).splitlines() if name.endswith(".py")]
    counts = [count(git("show", f"{commit}:{name}")) for name in names if "tests/" in name]
    functions, assertions = map(sum, zip(*counts, strict=True))
    print(f"{commit}: {functions} test functions, {assertions} assertions")


if __name__ == "__main__":
    main(*sys.argv[1:])
