"""Errors that a person reads: one sentence that says what is wrong, one that says what to do."""

from importlib.util import find_spec

from kto.texts import t

for _package in ("pydantic", "dotenv"):  # every script needs these; `kto.texts` says it of PyYAML
    if find_spec(_package) is None:
        raise SystemExit(t("technical.no_package", name=_package))


class UserError(Exception):
    """An error that the user can correct.

    `key` names a text under `errors:`, or with a dot any text (`technical.…`); `values` are for its placeholders.
    """

    def __init__(self, key: str, /, **values: object) -> None:
        self.key = key
        super().__init__(t(key if "." in key else f"errors.{key}", **values))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows in a notebook instead of a traceback."""
        return [str(self)]
