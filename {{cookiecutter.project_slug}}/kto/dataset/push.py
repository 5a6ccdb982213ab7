"""`export.py push`: export, and send the dataset to the Hub as `publish.py` does it."""


def main(argv: list[str]) -> int:
    from export import main as export

    return export([*argv, "--push"])
