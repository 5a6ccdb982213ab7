"""`export.py push`: export, and send the dataset to the Hub."""


def main(argv: list[str]) -> int:
    from export import main as export

    return export([*argv, "--push"])
