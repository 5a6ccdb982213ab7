"""The notebook `setup_argilla.ipynb`: what it needs beyond the commands, and a way to run it without an editor.

    uv run python -m kto.vote.notebook

This runs all cells and prints what they print; an error is a sentence.
"""

import sys
import tempfile
import warnings
from typing import Any

from kto.command_line import Parser, run
from kto.errors import UserError
from kto.texts import ROOT, t


def speak_plainly() -> None:
    """Show a `UserError` as its sentence alone: the cell still fails, and so does whatever runs the notebook."""
    # IPython asks an exception for this method before it writes a traceback.
    setattr(UserError, "_render_traceback_", lambda error: [str(error)])  # noqa: B010
    warnings.filterwarnings("ignore", message="IProgress not found")  # our bar is made of letters


def show(cell: Any, **_: object) -> None:
    """Print what a cell of the notebook has printed."""
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            print(output.text, end="", file=sys.stdout if output.name == "stdout" else sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run all cells, as `jupyter execute` does, and say what they say."""
    Parser(t("notebook.intro")).parse_args(argv)
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    cells = nbformat.read(ROOT / "setup_argilla.ipynb", as_version=4)
    client = NotebookClient(
        cells,
        kernel_name="python3",
        resources={"metadata": {"path": str(ROOT)}},
        extra_arguments=["--log-level=ERROR"],
        on_cell_executed=show,
    )
    with tempfile.TemporaryFile() as said:  # by the kernel itself, which may have pages to say about its own end
        try:
            client.execute(stderr=said)
        except CellExecutionError as error:
            if error.ename != "UserError":
                raise
            print(error.evalue, file=sys.stderr)
            return 1
        except Exception:  # it has not even started, or it has died
            said.seek(0)
            print(said.read().decode(errors="replace"), file=sys.stderr)
            raise
    return 0


if __name__ == "__main__":
    run(main)
