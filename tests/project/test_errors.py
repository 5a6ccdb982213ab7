"""Errors with fields: each class has a sentence, and travels to other processes."""

import pickle
from collections.abc import Iterator

import pytest
from generating import TEMPLATE
from kto import errors
from kto.errors import Failure, UserError

pytest_plugins = ["generating_fixtures"]
pytestmark = pytest.mark.usefixtures("english")
assert TEMPLATE
ABSTRACT = {errors.RequestFailed, errors.ModelUnusable}


def below(kind: type[Failure]) -> Iterator[type[Failure]]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


CLASSES = sorted({kind for kind in below(Failure) if kind.__module__ == "kto.errors"}, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if kind not in ABSTRACT], ids=lambda kind: kind.__name__)
def test_every_class_has_a_sentence(kind: type[Failure]) -> None:
    failure = kind(403, "No.")
    assert len(str(failure)) > 20 and "{" not in str(failure)
    assert kind.__name__.lower() == failure.kind.replace("_", "")


def test_the_hierarchy_is_drawn_whole() -> None:
    assert errors.__doc__
    assert {kind.__name__ for kind in CLASSES} <= set(errors.__doc__.replace(",", " ").split())


def test_errors_travel_to_other_processes() -> None:
    slow = errors.RateLimited(429, "Slow down.", wait=2.5)
    for error in UserError("bad_port", port=7), slow, errors.Unreachable():
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error) and str(copy) == str(error) and vars(copy) == vars(error)
