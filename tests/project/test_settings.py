"""A settings.toml that was edited into nonsense: which key, what is wrong, what to do; all of it at once."""

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest
from generating import run, use
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tools import make_schema

pytest_plugins = ["generating_fixtures"]

BAD = [
    ("generation", "concurrency", 0, "1 to 1024"),
    ("generation", "concurrency", "many", "a whole number"),
    ("generation", "temperature", True, "a number"),
    ("generation", "temperature", -1, "0 to 2"),
    ("generation", "models", [], "at least one"),
    ("generation", "models", ["a/b", "a/b"], "only once"),
    ("generation", "models", "a/b", "square brackets"),
    ("generation", "inference", "cloud", '"huggingface"'),
    ("generation", "base_url", "localhost:80", "http://"),
    ("annotation", "min_submitted", 1.5, "a whole number"),
    ("annotation", "annotators", ["Jan Smit"], "letters a to z"),
    ("annotation", "task", 3, "1 to 2"),
    ("annotation", "third_vote", "no", "true or false"),
    ("annotation", "measured_share", 10, "0 to 1"),
    ("annotation", "aspects", ["Tone"], "small letters a to z, digits and underscores"),
    ("annotation", "aspects", ["language", "vote"], "none of vote, reasons, comment"),
    ("annotation", "aspects", "language", "square brackets"),
    ("export", "rule", "all", '"majority", "unanimous" or "confidence"'),
    ("export", "min_confidence", 0.4, "0.5 to 1"),
    ("export", "test_fraction", 2, "0 to 0.9"),
    ("export", "private", "yes", "true or false"),
    ("training", "batch_size", 1, "2 to 4096"),
    ("project", "slug", "A B", "small letters"),
]
COMMANDS = ["check.py", "generate.py", "export.py", "train.py"]


@pytest.mark.parametrize(("section", "key", "value", "expected"), BAD)
def test_a_setting_that_cannot_be_used(
    project: Path,
    section: str,
    key: str,
    value: object,
    expected: str,
) -> None:
    use(project, section, **{key: value})
    done = run(project, "generate.py")
    assert done.returncode == 1
    assert f"[{section}] {key}" in done.stderr and expected in done.stderr
    assert not (project / "data").exists()


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ('{ good = ["Funny"] }', "[annotation.reasons] good = ['Funny'] cannot be used; use names of small letters"),
        ("{ goood = [] }", "[annotation.reasons] goood is unknown. Did you mean “good”?"),
        ('{ bad = "unsafe" }', "[annotation.reasons] bad must be a list of texts"),
        ('["useful"]', "[annotation] reasons must be names and values in braces"),
        ('{ good = ["useful"], bad = [], flags = [] }', "cannot be used; name at least two in all, or none"),
    ],
)
def test_reasons_that_cannot_be_used(project: Path, reasons: str, said: str) -> None:
    path = project / "settings.toml"
    path.write_text(re.sub(r"(?m)^# reasons = .*$", f"reasons = {reasons}", path.read_text("utf-8")), "utf-8")
    done = run(project, "generate.py")
    assert done.returncode == 1 and done.stderr.count("\n  - ") == 1
    assert said in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_names_every_mistake(project: Path, command: str) -> None:
    path = project / "settings.toml"
    text = path.read_text(encoding="utf-8")
    text = text.replace("concurrency = 4 ", "concurency = 4 ").replace('license = "', 'license = 1 # "')
    text = text.replace("[export]", "[exports]").replace("[language]", "[languages]")
    path.write_text(text, encoding="utf-8")
    done = run(project, command)
    assert done.returncode == 1
    for problem in (
        "[local] concurency",
        "Did you mean “concurrency”",
        "[project] license",
        "[language] is missing",
        "Did you mean “export”",
    ):
        assert problem in done.stderr, done.stderr


def test_a_setting_that_is_missing_has_its_default(project: Path, english: None) -> None:
    """A project of an earlier version lacks what came later; facts have no default."""
    from kto.settings import load as load_settings

    path = project / "settings.toml"
    whole = load_settings(project)
    facts = ("name", "slug", "domain", "hub_owner", "license", "inference", "models", "prompts", "dataset")
    kept, section = [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line
            if section in ("[project]", "[language]", "[generation]", "[annotation]"):
                kept.append(line)
        elif section == "[language]" or line.split(" = ")[0] in facts:
            kept.append(line)
    path.write_text("\n".join(line for line in kept if "concurrency" not in line), encoding="utf-8")
    generation = whole.generation.model_copy(update={"concurrency": 32})
    export = whole.export.model_copy(update={"min_votes": None})  # as many as the project's people were asked for
    annotation = whole.annotation.model_copy(update={"task": 1})
    expected = whole.model_copy(update={"generation": generation, "export": export, "annotation": annotation})
    assert load_settings(project) == expected
    path.write_text(path.read_text(encoding="utf-8").replace("models = ", "# models = "), encoding="utf-8")
    assert "[generation] models" in run(project, "generate.py").stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_toml_that_is_none_names_the_line(project: Path, command: str) -> None:
    path = project / "settings.toml"
    path.write_text("[project]\nname = oops\n", encoding="utf-8")
    done = run(project, command)
    assert done.returncode == 1 and "line 2" in done.stderr
    path.write_bytes(b"\xff\xfe")
    assert run(project, command).returncode == 1
    path.unlink()
    assert "no file" in run(project, command).stderr


@pytest.mark.parametrize("name", ["texts.yaml", "kto/texts.yaml"])
@pytest.mark.parametrize("broken", ["task: [", "- a\n- b\n", "task:\n  vote: hi\ncli: hi\n", b"\xff"])
def test_texts_that_cannot_be_read(project: Path, broken: str | bytes, name: str) -> None:
    (project / name).write_bytes(broken if isinstance(broken, bytes) else broken.encode())
    done = run(project, "generate.py", "--help")
    assert done.returncode == 1 and done.stderr.startswith(f"{name} "), done.stderr


def test_a_project_without_texts_says_so(project: Path) -> None:
    (project / "texts.yaml").unlink()
    assert run(project, "generate.py", "--help").returncode == 0, "nobody needs words of their own"
    (project / "kto" / "texts.yaml").unlink()
    done = run(project, "generate.py", "--help")
    assert done.returncode == 1 and done.stderr.startswith("There are no texts in ")


@pytest.mark.parametrize("command", [*COMMANDS, "kto/vote/argilla_server/server.py"])
def test_help(project: Path, command: str) -> None:
    done = run(project, command, "--help")
    assert done.returncode == 0 and "--" in done.stdout


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_breaks_the_reader(content: bytes, tmp_path: Path, english: None) -> None:
    from kto.errors import UserError
    from kto.settings import load as load_settings

    (tmp_path / "settings.toml").write_bytes(content)
    with pytest.raises(UserError):
        load_settings(tmp_path)


# --- files of an earlier version, and the schema for editors ---


def test_earlier_names_stay_valid(project: Path, english: None) -> None:
    from kto.settings import load as load_settings

    path = project / "settings.toml"
    whole = load_settings(project)
    text = path.read_text(encoding="utf-8")
    earlier = text.replace("\nmax_attempts = 4 ", "\nattempts = 4 ").replace("\nlanguage_retries = ", "\nask_again = ")
    path.unlink()
    (project / "settings.toml").write_text(earlier, encoding="utf-8")
    assert earlier != text and load_settings(project) == whole
    (project / "settings.toml").write_text(earlier.replace("\nattempts = 4 ", "\nattempts = 0 "), encoding="utf-8")
    done = run(project, "generate.py")
    assert "[generation] attempts = 0 cannot be used; use a number from 1 to 100" in done.stderr
    assert str(project / "settings.toml") in done.stderr
    path.write_text(text, encoding="utf-8")
    assert load_settings(project) == whole, "settings.toml comes first"


def test_both_names_of_a_setting(project: Path) -> None:
    path = project / "settings.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\nmax_attempts = ", "\nattempts = 2\nmax_attempts = "), encoding="utf-8")
    done = run(project, "generate.py")
    assert done.returncode == 1 and done.stderr.count("\n  - ") == 1
    assert "attempts and max_attempts are two names of one setting. Keep max_attempts" in done.stderr


def test_the_schema_is_up_to_date() -> None:
    assert make_schema.SCHEMA.read_text(encoding="utf-8") == make_schema.schema(), "python tools/make_schema.py"


def test_what_is_rendered_fits_the_schema(project: Path) -> None:
    """Also with every line that is commented out, and with earlier names."""
    text = (project / "settings.toml").read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    schema = json.loads((project / first.removeprefix("#:schema ")).read_text(encoding="utf-8"))
    jsonschema.Draft4Validator.check_schema(schema)
    whole = re.sub(r"(?m)^# (?=[a-z_]+ = |\[models)", "", rest)
    assert "[models." in whole.replace("# [models", "") and "\nlearning_rate = " in whole
    for content in (rest, whole, rest.replace("max_attempts", "attempts")):
        jsonschema.Draft4Validator(schema).validate(tomllib.loads(content))
    for section, key, value, _ in BAD:
        wrong = tomllib.loads(rest)
        wrong[section][key] = value
        assert not jsonschema.Draft4Validator(schema).is_valid(wrong), key


def test_every_setting_is_explained() -> None:
    schema = json.loads(make_schema.SCHEMA.read_text(encoding="utf-8"))
    for section in schema["$defs"].values():
        assert section["description"] and all(setting["description"] for setting in section["properties"].values())
