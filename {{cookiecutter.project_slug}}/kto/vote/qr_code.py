"""A link as a QR code in the terminal, for a phone that is pointed at it."""

import locale
import os
import shutil
import sys

from rich.console import Console
from rich.text import Text

_QUIET = 2  # light modules around the code; the standard wants 4, phones are content with 2


def show_code(link: str) -> None:
    """Print a link as a QR code, two rows of modules in one line, on a terminal where it fits and can be shown."""
    if not sys.stdout.isatty():
        return
    try:
        import segno
    except ModuleNotFoundError:  # an earlier project has its own list of packages; the link itself will do
        return
    code = segno.make(link, error="l", micro=False)
    rows = [[bool(module) for module in row] for row in code.matrix_iter(border=_QUIET)]
    blocks = "█▀▄ "  # both rows dark, the upper one, the lower one, none
    # What is written is UTF-8 always, but not every terminal shows it; the console of Windows shows all letters.
    shown = locale.getencoding() if os.name == "posix" else "utf-8"
    if blocks.encode(shown, "replace").decode(shown) != blocks:
        return
    if shutil.get_terminal_size().columns < len(rows[0]):
        return
    rows.append([False] * len(rows[0]))  # for an odd number of rows
    lines = [
        "".join(blocks[2 * (not upper) + (not lower)] for upper, lower in zip(*pair, strict=True))
        for pair in zip(rows[::2], rows[1::2], strict=False)
    ]
    # Black on white, whatever the colours of the terminal are: not every phone reads the opposite.
    console = Console(file=sys.stdout, width=len(rows[0]), highlight=False)
    console.print(Text("\n".join(lines), style="#000000 on #ffffff"))
    print()
