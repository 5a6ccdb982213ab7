"""Values as literals of a format: each filter returns text that the format reads as that value."""

import json

import yaml


def toml(value: object) -> str:
    """Return a string, bool or list of strings as a TOML literal. A basic string of TOML is a JSON string plus DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def json_literal(value: object) -> str:
    """Return `value` as JSON with letters as they are: `tojson` would write an emoji as two surrogates."""
    return json.dumps(value, ensure_ascii=False)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as blocks, so that people can edit them."""


def _represent_str(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_str)


def to_yaml(value: object) -> str:
    """Return `value` as YAML in block style."""
    return yaml.dump(value, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=10_000)
