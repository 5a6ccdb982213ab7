"""`vote.py upgrade`: a project of 48701f0 with votes asks what people are asked today, and every vote stays."""

import contextlib
import io
import json
import shutil
import sqlite3
import sys
import tomllib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from argilla_server import ArgillaServer
from earlier_project import put_argilla, put_into
from rendering import TEMPLATE, read_yaml, render
from vote_command import Vote
from voting import Task, argilla, english, task

sys.path.insert(0, str(TEMPLATE))

from kto import questions
from kto.settings import load as load_settings
from kto.vote import upgrade
from kto.vote.argilla_server import home as homes
from kto.vote.client import connect
from kto.vote.task import make_task

__all__ = ["argilla", "english", "task"]

EARLIER_ONLY = {"wrong_language", "clumsy"}  # both were given
WAFFLE = "Hoe eet ik een stroopwafel?"


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dutch project of 48701f0, with the code of today, its Argilla and the votes in it."""
    project = render(tmp_path_factory.mktemp("earlier"), language="nl", inference="openai-compatible")
    put_into(project)
    put_argilla(project)
    return project


@pytest.fixture
def project(rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("ARGILLA_API_URL", "ARGILLA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    texts = read_yaml(rendered / "kto" / "texts.yaml")
    monkeypatch.setattr("kto.texts.load", lambda: texts)
    monkeypatch.setattr("kto.texts.ROOT", rendered)
    project = tmp_path / "kto-test"
    shutil.copytree(rendered, project)
    measure(project, 0)
    return project


def settings(project: Path) -> Path:
    return project / "project.toml"


def measure(project: Path, share: float) -> None:
    text = settings(project).read_text("utf-8")
    assert "measured_share" not in text
    line = "min_submitted = 2 "
    assert line in text
    settings(project).write_text(text.replace(line, f"measured_share = {share}\n{line}"), "utf-8")


def run(project: Path, *words: str) -> str:
    """Run the command in this process; return what it says."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.setattr(upgrade, "load", lambda: load_settings(project))
        assert upgrade.main([*words]) == 0
    return said.getvalue()


def rows(project: Path, table: str) -> dict[str, dict[str, Any]]:
    """Return all rows of a table by their id."""
    with contextlib.closing(sqlite3.connect(project / ".argilla" / "argilla.db")) as database:
        database.row_factory = sqlite3.Row
        return {row["id"]: dict(row) for row in database.execute(f"SELECT * FROM {table}")}


def tables(project: Path) -> dict[str, dict[str, dict[str, Any]]]:
    return {name: rows(project, name) for name in ("records", "responses", "questions", "datasets", "users", "fields")}


def asked(project: Path) -> dict[str, tuple[Any, ...]]:
    """Return name → what a row in the table of questions says, but for ids and times, in the order of the page."""
    found = sorted(rows(project, "questions").values(), key=lambda row: row["inserted_at"])
    columns = ("title", "description", "required", "settings")
    return {row["name"]: tuple(row[column] for column in columns) for row in found}


def statuses(project: Path) -> dict[str, str]:
    return {json.loads(row["fields"])["prompt"]: row["status"] for row in rows(project, "records").values()}


def test_a_dry_run_changes_nothing(project: Path) -> None:
    before, text = tables(project), settings(project).read_bytes()
    files = sorted(path.name for path in (project / ".argilla").iterdir() if "db-" not in path.name)
    said = run(project)
    assert tables(project) == before and settings(project).read_bytes() == text
    assert sorted(path.name for path in (project / ".argilla").iterdir() if "db-" not in path.name) == files
    assert "Votes that stay as they are: 11\n" in said
    assert "because their votes differ, each for one person more: 1\n" in said
    assert said.endswith("uv run vote.py upgrade --yes\n")
    assert run(project) == said
    done = run(project, "--yes")
    figures = said.splitlines()[:-1]
    assert [line for line in done.splitlines() if line in figures] == figures, "it does what it said"


def test_votes_records_ids_and_times_stay(project: Path) -> None:
    before = tables(project)
    run(project, "--yes")
    after = tables(project)
    for name in ("responses", "datasets", "users", "fields"):
        assert after[name] == before[name], name
    for id, record in before["records"].items():
        changed = {column for column, value in record.items() if after["records"][id][column] != value}
        assert changed == ({"status", "updated_at"} if json.loads(record["fields"])["prompt"] == WAFFLE else set())
    for id, question in before["questions"].items():
        new = after["questions"][id]
        assert (new["name"], new["inserted_at"], new["required"]) == tuple(
            question[column] for column in ("name", "inserted_at", "required")
        )
    assert load_settings(project).annotation.task == questions.TASK
    [copy] = (project / ".argilla").glob("*before-upgrade*")
    assert copy.stat().st_mode & 0o777 == 0o600 or sys.platform == "win32"
    copy.replace(project / ".argilla" / "argilla.db")
    assert tables(project) == before


def test_the_questions_are_those_of_a_new_task(
    project: Path, task: Task, argilla: ArgillaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = read_yaml(project / "kto" / "texts.yaml")
    monkeypatch.setattr("kto.texts.load", lambda: texts)
    run(project, "--yes")
    name = task.config.annotation.dataset
    shutil.copy(settings(project), task.project / "project.toml")
    (task.project / "settings.toml").unlink()
    task.set(dataset=f'"{name}"')
    dataset = make_task(connect(task.config), task.config)
    query = (
        "SELECT name, title, description, required, settings FROM questions WHERE dataset_id = ? ORDER BY inserted_at"
    )
    with contextlib.closing(sqlite3.connect(argilla.home / "argilla.db")) as database:
        new = {row[0]: row[1:] for row in database.execute(query, [dataset.id.replace("-", "")])}
    ours = asked(project)
    assert [*ours] == [*new]
    for name in new.keys() - {"vote", "comment", "reasons"}:
        assert ours[name] == new[name]
    assert ours["reasons"][:3] == new["reasons"][:3]
    settings_of = [json.loads(question["reasons"][3]) for question in (ours, new)]
    added = [option for option in settings_of[0]["options"] if option["value"] in EARLIER_ONLY]
    assert {option["value"] for option in added} == EARLIER_ONLY
    settings_of[1]["options"] += added
    settings_of[1]["visible_options"] += len(added)
    assert ours["reasons"][3] == json.dumps(settings_of[1]) and json.loads(ours["reasons"][3]) == settings_of[1]


def test_a_reason_that_nobody_gave_goes(project: Path) -> None:
    with contextlib.closing(sqlite3.connect(project / ".argilla" / "argilla.db")) as database, database:
        database.execute("""UPDATE responses SET "values" = json_remove("values", '$.reasons') WHERE 1""")
    assert "any more: Not in Nederlands · Clumsy or unnatural\n" in run(project, "--yes")
    options = [option["value"] for option in json.loads(asked(project)["reasons"][3])["options"]]
    assert not EARLIER_ONLY & {*options} and options[0] == "useful"


class Killed(BaseException):
    pass


@pytest.mark.parametrize("step", ["copy", "_change_questions", "_recount", "write_setting", "replacing"])
@pytest.mark.parametrize("after", [False, True])
def test_after_a_kill_a_second_run_finishes(project: Path, tmp_path: Path, step: str, after: bool) -> None:
    other = tmp_path / "other" / project.name
    shutil.copytree(project, other)
    run(other, "--yes")
    wanted = (asked(other), statuses(other), settings(other).read_bytes())
    before = tables(project)
    real = getattr(upgrade, step)
    calls: list[int] = []

    def kill(*arguments: Any, **named: Any) -> Any:
        calls.append(1)
        if step in ("_change_questions", "_recount") and len(calls) == 1:  # for the figures
            return real(*arguments, **named)
        if after:
            real(*arguments, **named)
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(upgrade, step, kill)
        run(project, "--yes")
    if step in ("copy", "_change_questions", "_recount"):
        assert tables(project) == before and load_settings(project).annotation.task == 1
    assert load_settings(project).annotation.dataset == "kto-test"
    assert rows(project, "responses") == before["responses"]
    run(project, "--yes")
    assert (asked(project), statuses(project), settings(project).read_bytes()) == wanted
    assert rows(project, "responses") == before["responses"]
    assert "nothing to do" in run(project, "--yes")


def test_the_measured_share_gets_one_vote_more(project: Path) -> None:
    text = settings(project).read_text("utf-8").replace("measured_share = 0\n", "measured_share = 1.0\n")
    settings(project).write_text(text, "utf-8")
    assert "measured_share = 1.0" in text
    said = run(project)
    assert "to measure how well people agree, each for one person more: 4 (100 % of" in said
    assert "because their votes differ, each for one person more: 1\n" in said
    run(project, "--yes")
    assert {*statuses(project).values()} == {"pending"}


def test_not_while_people_vote(project: Path) -> None:
    before = tables(project)
    for lock in ("page-lock", "lock"):
        with (
            homes.only_server_of(project / ".argilla", lock),
            pytest.raises(upgrade.UserError, match="Argilla"),
        ):
            run(project, "--yes")
    assert tables(project) == before
    with homes.only_server_of(project / ".argilla", "page-lock"):
        assert "Nothing was changed." in run(project)


def test_a_project_of_today_has_nothing_to_do(tmp_path: Path, english: None) -> None:
    project = render(tmp_path)
    before = (project / "settings.toml").read_bytes()
    assert run(project, "--yes").startswith("There is nothing to do")
    assert (project / "settings.toml").read_bytes() == before and not (project / ".argilla").exists()


def test_the_line_alone_is_not_enough(project: Path) -> None:
    """Somebody wrote it by hand, or took it from another clone."""
    upgrade.write_setting(settings(project))
    assert "New questions" in run(project)
    run(project, "--yes")
    assert "language" in asked(project) and settings(project).read_text("utf-8").count("task = 2") == 1
    assert run(project).startswith("There is nothing to do")


@pytest.mark.parametrize("there", ["nothing", "empty", "other dataset"])
def test_before_there_is_a_task_only_the_setting_changes(project: Path, there: str) -> None:
    database = project / ".argilla" / "argilla.db"
    if there == "nothing":
        shutil.rmtree(database.parent)
    elif there == "empty":
        database.write_bytes(b"")
    else:
        text = settings(project).read_text("utf-8").replace('dataset = "kto-test"', 'dataset = "another"')
        settings(project).write_text(text, "utf-8")
    assert "only project.toml changes" in run(project) and load_settings(project).annotation.task == 1
    assert "Done." in run(project, "--yes")
    assert load_settings(project).annotation.task == 2
    assert not [*project.glob(".argilla/*before*")]


def test_an_argilla_elsewhere_keeps_its_task(project: Path) -> None:
    (project / ".env").write_text("ARGILLA_API_URL=https://ann-argilla.example\nARGILLA_API_KEY=key\n", "utf-8")
    before = tables(project), settings(project).read_bytes()
    assert run(project, "--yes").startswith("The Argilla at https://ann-argilla.example is not")
    assert (tables(project), settings(project).read_bytes()) == before


def test_another_version_of_argilla_is_left_alone(project: Path) -> None:
    with contextlib.closing(sqlite3.connect(project / ".argilla" / "argilla.db")) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'other'")
    with pytest.raises(upgrade.UserError, match="another version"):
        run(project, "--yes")


def test_another_task_is_left_alone(project: Path) -> None:
    with contextlib.closing(sqlite3.connect(project / ".argilla" / "argilla.db")) as database, database:
        database.execute("UPDATE fields SET name = 'text' WHERE name = 'answer'")
    with pytest.raises(upgrade.UserError):
        run(project, "--yes")
    assert load_settings(project).annotation.task == 1


# --- the line in the settings -----------------------------------------------------------------------------------------


def plain(text: str) -> str:
    return text


@pytest.mark.parametrize(
    "edit",
    [
        plain,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("[annotation]\n", '  [ "annotation" ]   # what people see\n'),
        lambda text: text.replace("[annotation]\n", "[annotation]\ntask=1 # as before\n"),
        lambda text: text.replace("# Every answer", "# [annotation]\n# Every answer", 1),
    ],
)
def test_one_line_is_added(project: Path, edit: Callable[[str], str]) -> None:
    path = settings(project)
    text = edit(path.read_bytes().decode("utf-8"))
    path.write_bytes(text.encode("utf-8"))
    path.chmod(0o644)
    before = tomllib.loads(text.removeprefix("\ufeff"))
    upgrade.write_setting(path)
    assert path.stat().st_mode & 0o777 == 0o644 or sys.platform == "win32"
    new = path.read_bytes().decode("utf-8")
    assert new.count("\r\n") in (0, new.count("\n"))
    assert tomllib.loads(new.removeprefix("\ufeff")) == {**before, "annotation": {**before["annotation"], "task": 2}}
    lines, earlier = new.splitlines(), text.splitlines()
    changed = [line for line in lines if line not in earlier]
    assert len(changed) == 1 and changed[0].startswith(("task = 2 ", "task=2 # as before"))
    assert [line for line in earlier if line not in lines] in ([], ["task=1 # as before"])


def test_settings_that_it_cannot_change(project: Path) -> None:
    path = settings(project)
    head, _, rest = path.read_text("utf-8").partition("[annotation]\n")
    section, _, tail = rest.partition("\n[")
    values = tomllib.loads(section)
    inline = ", ".join(f"{key} = {json.dumps(value)}" for key, value in values.items())
    path.write_text(f"annotation = {{ {inline} }}\n{head}[{tail}", "utf-8")
    before = path.read_bytes()
    with pytest.raises(upgrade.UserError, match="task = 2"):
        upgrade.write_setting(path)
    assert path.read_bytes() == before


# --- with the real Argilla --------------------------------------------------------------------------------------------


def queue(task: Task, name: str) -> set[str]:
    """Return the ids of the records that Argilla's own page asks a person about."""
    filters = [
        {"type": "terms", "scope": {"entity": scope, "property": "status"}, "values": ["pending"]}
        for scope in ("response", "record")
    ]
    body = {"filters": {"type": "and", "and": filters}}
    path = f"/api/v1/me/datasets/{task.dataset_id}/records/search"
    found = task.person(name).post(path, params={"limit": 100}, json=body).raise_for_status().json()
    return {item["record"]["id"] for item in found["items"]}


def test_upgraded_in_the_middle_every_vote_counts_once(project: Path) -> None:
    before = rows(project, "responses")
    names = {id: row["username"] for id, row in rows(project, "users").items()}
    answered = {(names[row["user_id"]], str(uuid.UUID(row["record_id"]))) for row in before.values()}
    run(project, "--yes")
    with ArgillaServer(project) as server:
        task = Task(project, server.url, server.api_key)
        task.people["owner"] = task._client(server.api_key)
        [waffle] = [record for record in task.records().values() if record["fields"]["prompt"] == WAFFLE]
        queues = {name: queue(task, name) for name in ("amina", "bram", "carmen")}
        assert [name for name, asked_about in queues.items() if waffle["id"] in asked_about] == ["carmen"]
        assert not answered & {(name, id) for name, asked_about in queues.items() for id in asked_about}
        task.vote("carmen", waffle, "good", reasons=["fits_culture"], language="natural")
        task.vote("amina", waffle, "good", reasons=["clumsy"])  # the page still shows her what she could choose before
        assert not any(waffle["id"] in queue(task, name) for name in queues)
    after = rows(project, "responses")
    assert before.keys() < after.keys() and len(after) == len(before) + 1
    done = task.export()
    assert done.returncode == 0, done.stderr
    votes = task.table("votes/train.parquet")
    assert len(votes) == len({(vote["annotator"], vote["record_id"]) for vote in votes}) == 12
    [row] = [row for row in task.table("kto/train.parquet") + task.table("kto/test.parquet") if WAFFLE in str(row)]
    assert row["label"] is True


def test_the_voting_page_asks_a_third_person_and_nobody_twice(project: Path, tmp_path: Path) -> None:
    before = rows(project, "responses")
    names = {id: row["username"] for id, row in rows(project, "users").items()}
    answered = {(names[row["user_id"]], row["record_id"]) for row in before.values()}
    [waffle] = [id for id, row in rows(project, "records").items() if json.loads(row["fields"])["prompt"] == WAFFLE]
    run(project, "--yes")
    with Vote(project, tmp_path / "bin") as vote:
        path = project / "data" / "private" / "links.csv"
        vote.until(lambda: path.exists() and "carmen" in path.read_text("utf-8"))
        links = dict(line.split(",") for line in path.read_text("utf-8").splitlines())
        vote.until(
            lambda: vote.call("session", {"secret": links["amina"].partition("#")[2], "consent": "1"}).is_success
        )
        devices = {name: vote.enter(links[name].partition("#")[2]) for name in ("amina", "bram", "carmen")}
        cards = {
            name: vote.call("cards", {"count": 10, "have": []}, device).raise_for_status().json()["cards"]
            for name, device in devices.items()
        }
        given = {(name, card["record"]) for name, several in cards.items() for card in several}
        assert not given & answered and len(given) == sum(map(len, cards.values()))
        assert [name for name, record in given if record == waffle] == ["carmen"]
        line = {"v": 1, "id": uuid.uuid4().hex, "record": waffle, "vote": "good", "replaces": None, "ms": 4000}
        line |= {"reasons": ["fits_culture"], "aspects": {"language": "natural"}}
        sent = vote.call("votes", {"lines": [line]}, devices["carmen"]).raise_for_status().json()
        assert sent["states"] == {line["id"]: "applied"}
    after = rows(project, "responses")
    [new] = [after[id] for id in after.keys() - before.keys()]
    values = {name: value["value"] for name, value in json.loads(new["values"]).items()}
    assert values == {"vote": "good", "reasons": ["fits_culture"], "language": "natural"}
    assert {id: after[id] for id in before} == before
    assert statuses(project)[WAFFLE] == "completed"
