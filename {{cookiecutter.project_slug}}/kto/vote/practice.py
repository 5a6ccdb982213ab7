"""The voting page with practice cards alone: what people will see, before there are answers.

Needs nothing but Python: `publish/voting/page.json` has every word, also those for the terminal.
"""

import argparse
import socket
import sys
import time

from kto.texts import ROOT, published
from kto.vote.voting_server import page_files
from kto.vote.voting_server.http_server import VotingServer

_PORT = 6900


def main(argv: list[str] | None = None) -> int:
    """Show the page until Ctrl-C."""
    path = published(ROOT, page_files.WORDS)
    try:
        words = page_files.read_words(path)
        files, _ = page_files.load(words, practice_only=True)
        ready, stop = words["words"]["practice_ready"], words["words"]["practice_stop"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        # English, for the words are what is missing.
        print(f"{path} cannot be read ({error}). Make it with: uv run check.py pages", file=sys.stderr)
        return 1
    parser = argparse.ArgumentParser(prog="vote.py practice", allow_abbrev=False)
    parser.add_argument("--port", type=int, default=_PORT)
    listener = _listen(parser.parse_args(argv).port)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/vote/"
    with VotingServer(listener, files, {}).running():
        print(f"{ready.replace('{url}', url)}\n{stop}", flush=True)
        try:
            while True:
                time.sleep(0.3)  # Windows hears no Ctrl-C during a longer wait
        except KeyboardInterrupt:
            return 0


def _listen(port: int) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port), backlog=512)
    except OSError:  # the voting page may be running
        return socket.create_server(("127.0.0.1", 0), backlog=512)
