"""Run cookiecutter for `start.py`, with refusals as sentences, without tracebacks."""

import logging
import sys

from cookiecutter.cli import main

if __name__ == "__main__":
    logging.getLogger("cookiecutter.hooks").setLevel(logging.CRITICAL + 1)  # our hooks have printed the problem
    try:
        main(prog_name="start.py")
    except ValueError as error:  # an answer on the command line that is not among the choices
        sys.exit(f"{error} Choose one of these.")
