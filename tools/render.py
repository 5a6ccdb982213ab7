"""Run cookiecutter for `start.py`: what it refuses is said in sentences, without a traceback below them."""

import logging
import sys

from cookiecutter.cli import main

if __name__ == "__main__":
    logging.getLogger("cookiecutter.hooks").setLevel(logging.CRITICAL + 1)  # our hooks have said what is wrong
    try:
        main(prog_name="start.py")
    except ValueError as error:  # an answer on the command line that is none of the choices of its question
        sys.exit(f"{error} Choose one of these.")
