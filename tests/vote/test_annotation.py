"""The annotation task: the notebook, the records, the people, on a real Argilla."""

import itertools
import json
import os
import re
import stat
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import argilla as rg
import httpx
import nbformat
import pytest
from rendering import TEMPLATE, render
from voting import MODELS, SYSTEM_PROMPT, Task, argilla, english, make_generations, task

sys.path.insert(0, str(TEMPLATE))

from kto.errors import UserError
from kto.record_ids import text_id
from kto.vote.client import connect
from kto.vote.people import invite, read_passwords
from kto.vote.records import list_records, make_records, read_generations, upload_records
from kto.vote.task import find_task, make_task

__all__ = ["argilla", "english", "task"]

ANSWERS = {
    "How do I keep bread fresh?": ["In a *paper* bag.", "Freeze it."],
    "كيف أوفر الماء؟\nأريد جوابًا قصيرًا.": ["استحم في وقت أقصر.", None],
    'Say "{{ x }}" 🙂': ["<b>x</b>", "<b>x</b>"],
    "Empty?": ["  \n", "No."],
}
JUPYTER = ["-c", "from nbclient.cli import main; main()", "setup_argilla.ipynb"]  # is `jupyter execute`
RECORDS = 5  # a gap, an empty answer and a second time the same answer are no records


def run_vote(task: Task, **env: str) -> subprocess.CompletedProcess[str]:
    return task.run("vote.py", **env)


# --- the notebook -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "ar", "xh"])
def test_notebook_is_valid_and_empty(tmp_path: Path, language: str) -> None:
    notebook = nbformat.read(
        render(tmp_path, language=language) / "setup_argilla.ipynb", as_version=nbformat.NO_CONVERT
    )
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count is None and not cell.outputs for cell in code)
    assert "USE_SPACE = False" in "\n".join(cell.source for cell in code)
    assert "input(" not in "\n".join(cell.source for cell in code)
    assert not any("{" in cell.source or "cookiecutter" in cell.source for cell in notebook.cells if cell not in code)


def test_jupyter_runs_it_twice_and_nothing_appears_twice(task: Task) -> None:
    task.generate(ANSWERS)
    for _ in range(2):
        done = task.run(*JUPYTER, "--inplace")
        assert done.returncode == 0, done.stderr
        records = task.records()
        assert len(records) == RECORDS
        if not records[next(iter(records))]["responses"]:
            first, second = list(records.values())[:2]
            task.vote("amina", first, "bad", reasons=["not_true"], comment="hm")
            task.vote("piet", first, "good", status="draft")
            task.vote("piet", second, "good", status="discarded")
            before = {key: record["responses"] for key, record in task.records().items()}
    assert {key: record["responses"] for key, record in task.records().items()} == before
    notebook = nbformat.read(task.project / "setup_argilla.ipynb", as_version=4)
    said = "".join(output.text for cell in notebook.cells for output in cell.get("outputs", ()))
    assert f"New answers in Argilla: 0\nNobody new.\n{task.url}/dataset/{task.dataset_id}/annotation-mode\n" in said


def test_it_runs_from_elsewhere_and_says_what_it_did(task: Task, tmp_path: Path) -> None:
    task.generate(ANSWERS)
    task.set(annotators='["amina-2", "piet-2"]')
    done = task.run(str(task.project / "vote.py"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"New answers in Argilla: {RECORDS}\nNew people: 2\n" in done.stdout
    assert "amina-2" not in done.stdout  # what a notebook prints is saved, and perhaps shared


def test_a_mistake_is_a_sentence_and_fails(task: Task) -> None:
    sentence = f"There are no answers in {task.data / 'generations' / 'train.parquet'}. Run generate.py first."
    done = run_vote(task)
    assert (done.returncode, done.stderr) == (1, sentence + "\n")
    # Jupyter's own command adds a traceback of its own, but none of ours.
    done = task.run(*JUPYTER)
    assert done.returncode == 1 and done.stderr.rstrip().endswith(sentence)
    assert "kto/vote/records.py" not in done.stderr


# --- the task ---------------------------------------------------------------------------------------------------------


def test_the_task_says_what_the_texts_say(task: Task) -> None:
    task.generate(ANSWERS)
    task.set(min_submitted="3")
    task.setup()
    owner = task.person("owner")
    questions = owner.get(f"/api/v1/datasets/{task.dataset_id}/questions").json()["items"]
    vote, language, reasons, comment = questions
    assert [(each["name"], each["required"]) for each in questions] == [
        ("vote", True),
        ("language", False),
        ("reasons", False),
        ("comment", False),
    ]
    assert [(each["value"], each["text"]) for each in vote["settings"]["options"]] == [
        ("good", "👍 Good"),
        ("bad", "👎 Bad"),
    ]
    assert [each["value"] for each in reasons["settings"]["options"]] == [
        *("useful", "complete", "well_said", "fits_culture", "not_true", "off_topic", "unsafe"),
        *("personal_data", "unpublishable"),
    ]
    assert (reasons["title"], reasons["settings"]["options"][0]["text"]) == ("Why?", "Useful")
    assert language["title"] == "How is the language?" and "how it is said" in language["description"]
    assert [(each["value"], each["text"]) for each in language["settings"]["options"]] == [
        ("natural", "Natural"),
        ("understandable", "Understandable"),
        ("wrong", "Wrong"),
    ]
    assert vote["title"] == "Is this a good answer?" and "discard" in vote["description"] and comment["title"]
    fields = owner.get(f"/api/v1/datasets/{task.dataset_id}/fields").json()["items"]
    assert [(each["name"], each["settings"]["use_markdown"]) for each in fields] == [
        ("prompt", False),
        ("answer", True),
    ]
    dataset = owner.get(f"/api/v1/datasets/{task.dataset_id}").json()
    assert dataset["distribution"] == {"strategy": "overlap", "min_submitted": 3}
    assert dataset["guidelines"].startswith("## What we are doing") and "{" not in dataset["guidelines"]
    for part in (
        "Discard the record",
        "**Enter** sends your vote",
        "| Question | Answer | Vote | Why |\n|---|",
        "| 👎 |",
    ):
        assert part in dataset["guidelines"]


def test_a_project_of_before_makes_the_task_of_before(task: Task) -> None:
    task.generate(ANSWERS)
    task.set(task="1", autonym='"Klingon"')
    task.setup()
    path = f"/api/v1/datasets/{task.dataset_id}/questions"
    _, reasons, _ = task.person("owner").get(path).json()["items"]
    assert [option["value"] for option in reasons["settings"]["options"]] == [
        *("wrong_language", "not_true", "off_topic", "clumsy", "unsafe")
    ]
    assert reasons["title"] == "What is wrong with it?"
    assert reasons["settings"]["options"][0]["text"] == "Not in Klingon"


@pytest.mark.parametrize("has_reasons", [True, False])
def test_reasons_and_aspects_of_ones_own(task: Task, has_reasons: bool) -> None:
    task.generate(ANSWERS)
    lists = (
        '{ good = ["funny"], bad = ["unsafe"], flags = [] }' if has_reasons else "{ good = [], bad = [], flags = [] }"
    )
    task.set(aspects='["tone"]')
    settings = task.project / "settings.toml"
    settings.write_text(re.sub(r"(?m)^# reasons = .*$", f"reasons = {lists}", settings.read_text("utf-8")), "utf-8")
    tone = "{question: And?, help: If you like., short: Tone, a: A, b: B}"
    own = f"task: {{reason_funny: Made me laugh}}\naspects: {{tone: {tone}}}"
    (task.project / "texts.yaml").write_text(own, "utf-8")
    done = run_vote(task)
    assert done.returncode == 0, done.stderr
    path = f"/api/v1/datasets/{task.dataset_id}/questions"
    asked = {each["name"]: each for each in task.person("owner").get(path).json()["items"]}
    assert [*asked] == ["vote", "tone", *["reasons"] * has_reasons, "comment"]
    assert [option["text"] for option in asked["tone"]["settings"]["options"]] == ["A", "B"]
    if has_reasons:
        texts = [option["text"] for option in asked["reasons"]["settings"]["options"]]
        assert texts == ["Made me laugh", "Unsafe or hurtful"]
        with task.together():
            for record in task.records().values():
                for name in ("amina", "piet"):
                    task.vote(name, record, "good", reasons=["funny"], tone="a")
        assert task.export().returncode == 0
        assert {tuple(vote["reasons"]) for vote in task.table("votes")} == {("funny",)}


def test_people_do_not_see_the_model_nor_a_suggestion(task: Task) -> None:
    task.generate(ANSWERS)
    task.setup()
    search = f"/api/v1/me/datasets/{task.dataset_id}/records/search?include=responses&include=suggestions&limit=100"
    seen = task.person("amina").post(search, json={}).raise_for_status()
    assert seen.json()["total"] == RECORDS
    assert not any(item["record"]["suggestions"] for item in seen.json()["items"])
    for secret in ("acme", "system_prompt", SYSTEM_PROMPT):
        assert secret not in seen.text
        assert json.dumps(secret)[1:-1] in task.person("owner").post(search, json={}).text or secret == SYSTEM_PROMPT
    properties = task.person("amina").get(f"/api/v1/me/datasets/{task.dataset_id}/metadata-properties").json()
    assert properties["items"] == []


def test_a_task_that_exists_stays_as_it_is(task: Task) -> None:
    """But for the number of votes, see test_splits.py."""
    task.generate(ANSWERS)
    task.setup()
    before = task.person("owner").get(f"/api/v1/datasets/{task.dataset_id}").json()
    task.set(autonym='"Klingon"')
    task.setup()
    after = task.person("owner").get(f"/api/v1/datasets/{task.dataset_id}").json()
    for name in ("id", "guidelines", "distribution", "updated_at"):
        assert after[name] == before[name]


def test_another_task_of_that_name_is_left_alone(task: Task) -> None:
    client = connect(task.config)
    sdk = rg.Argilla(api_url=task.url, api_key=task.key)
    settings = rg.Settings(
        fields=[rg.TextField("prompt", client=sdk), rg.TextField("answer", client=sdk)],
        questions=[rg.LabelQuestion("vote", labels=["good", "bad", "so-so"], client=sdk)],
    )
    name = task.config.annotation.dataset
    rg.Dataset(name, workspace="argilla", settings=settings, client=sdk).create()
    task.generate(ANSWERS)
    done = run_vote(task)
    assert done.returncode == 1
    assert done.stderr == (
        f"There is a dataset {name} in Argilla, but it asks something else. "
        "Choose another name in settings.toml (dataset).\n"
    )
    assert task.records() == {}
    with pytest.raises(UserError, match="asks something else"):
        find_task(client, task.config)


def test_a_workspace_of_its_own(task: Task) -> None:
    task.set(workspace='"team-7"', annotators='["only-in-team-7"]')
    task.generate(ANSWERS)
    for expected in (["only-in-team-7"], []):
        task.setup()
        assert invite(connect(task.config), task.config) == expected
    mine = task.person("only-in-team-7").get("/api/v1/me/workspaces").json()["items"]
    assert [each["name"] for each in mine] == ["team-7"]


# --- the records ------------------------------------------------------------------------------------------------------


def test_records_hold_the_texts_exactly(task: Task) -> None:
    task.generate(ANSWERS)
    task.setup()
    records = task.records()
    expected = {(prompt, text): [] for prompt, texts in ANSWERS.items() for text in texts if (text or "").strip()}
    for prompt, texts in ANSWERS.items():
        for model, text in zip(MODELS, texts, strict=True):
            if (text or "").strip():
                expected[prompt, text].append(model)
    assert {key: record["metadata"]["model"] for key, record in records.items()} == expected
    for (prompt, answer), record in records.items():
        assert record["external_id"] == text_id(prompt, answer)
        assert record["metadata"]["system_prompt"] == SYSTEM_PROMPT
        assert record["metadata"]["prompt_id"]


def test_models_do_not_come_one_after_the_other() -> None:
    rows = make_generations({f"Question {n}?": [f"one {n}", f"two {n}"] for n in range(200)})
    records = make_records(rows)
    models = [record["metadata"]["model"][0] for record in records]
    runs = 1 + sum(a != b for a, b in itertools.pairwise(models))
    assert 160 < runs < 240  # 200 are expected of a shuffle, 2 of a list per model, 400 of turns
    assert make_records(rows[::-1]) == records


def test_only_what_is_missing_is_added(task: Task) -> None:
    bread, water, *_ = ANSWERS
    task.generate({bread: [ANSWERS[bread][0], None], water: ANSWERS[water]})
    task.setup()
    task.vote("amina", task.records()[bread, ANSWERS[bread][0]], "good")
    before = task.records()
    assert len(before) == 2
    # Another model has answered since, once in its own words and once in the very same.
    task.generate(
        {bread: [*ANSWERS[bread], ANSWERS[bread][0]], water: [*ANSWERS[water], None]}, [*MODELS, "acme/three"]
    )
    dataset = make_task(connect(task.config), task.config)
    assert upload_records(dataset, read_generations(task.config), task.config) == 1
    assert upload_records(dataset, read_generations(task.config), task.config) == 0
    after = task.records()
    assert len(after) == 3
    changed = after[bread, ANSWERS[bread][0]]
    assert changed["metadata"]["model"] == ["acme/one", "acme/three"]
    assert changed["responses"] == before[bread, ANSWERS[bread][0]]["responses"]
    assert len(changed["responses"]) == 1 and changed["fields"] == before[bread, ANSWERS[bread][0]]["fields"]
    assert after[water, ANSWERS[water][0]] == before[water, ANSWERS[water][0]]


def test_an_answer_that_names_its_model_is_not_asked_about_and_its_votes_stay(task: Task) -> None:
    bread, named = "How do I keep bread fresh?", "I am Qwen, made by Alibaba Cloud. Put it into a bag."
    task.set(self_naming="true")
    task.generate({bread: ["Freeze it.", named]})
    task.setup()
    task.vote("amina", task.records()[bread, named], "good")
    task.set(self_naming="false")
    task.generate({bread: ["Freeze it.", named], "How long?": ["One day.", f"{named} For a day."]})
    done = run_vote(task)
    assert done.returncode == 0, done.stderr
    assert "the model names itself or its maker in them: 2." in done.stdout
    records = task.records()
    assert len(records) == 3 and len(records[bread, named]["responses"]) == 1


def test_an_upload_that_broke_off_goes_on(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kto.vote.records.BATCH", 4)
    rows = make_generations({f"Question {n}?": [f"one {n}", f"two {n}"] for n in range(10)})
    dataset = make_task(client := connect(task.config), task.config)
    request, sent = client.sdk.http_client.request, []

    def break_off(method: str, url: str, **keywords: Any) -> httpx.Response:
        answer = request(method, url, **keywords)
        if method != "PUT":
            return answer
        sent.append(len(keywords["json"]["items"]))
        if len(sent) == 3:
            raise httpx.ReadTimeout("gone")  # it arrived, but we do not know that
        return answer

    monkeypatch.setattr(client.sdk.http_client, "request", break_off)
    with pytest.raises(UserError, match="gone"):
        upload_records(dataset, rows, task.config)
    assert len(task.records()) == 12
    assert upload_records(dataset, rows, task.config) == 8
    assert sent == [4, 4, 4, 4, 4] and len(task.records()) == 20


def test_reading_while_others_vote_and_add(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kto.vote.records.PAGE", 3)
    rows = make_generations({f"Question {n}?": [f"one {n}", f"two {n}"] for n in range(10)})
    dataset = make_task(client := connect(task.config), task.config)
    upload_records(dataset, rows[:9], task.config)
    known = list(task.records().values())
    request, pages = client.sdk.http_client.request, []

    def with_traffic(method: str, url: str, **keywords: Any) -> httpx.Response:
        answer = request(method, url, **keywords)
        if url.endswith("/records"):
            task.vote("amina", known[-1 - len(pages)], "good")
            pages.append(url)
            if len(pages) == 2:
                upload_records(make_task(other := connect(task.config), task.config), rows, task.config)
                del other
        return answer

    monkeypatch.setattr(client.sdk.http_client, "request", with_traffic)
    read = list_records(dataset, include="responses")
    assert {record["id"] for record in read} == {record["id"] for record in task.records().values()}
    assert len(read) == 20 and sum(len(record["responses"]) for record in read) > 0


def test_an_argilla_that_never_gives_all_records(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = make_task(client := connect(task.config), task.config)
    upload_records(dataset, make_generations({"Question?": ["one", "two"]}), task.config)
    request, passes = client.sdk.http_client.request, []

    def less(method: str, url: str, **keywords: Any) -> httpx.Response:
        answer = request(method, url, **keywords)
        if not url.endswith("/records"):
            return answer
        passes.append(url)
        page = answer.json() | {"items": answer.json()["items"][:1]}
        return httpx.Response(200, json=page, request=answer.request)

    monkeypatch.setattr(client.sdk.http_client, "request", less)
    with pytest.raises(UserError, match=r"could not do it \(1/2\)"):
        list_records(dataset)
    assert len(passes) == 3


# --- the people -------------------------------------------------------------------------------------------------------


def log_in(task: Task, name: str, password: str) -> int:
    return httpx.post(f"{task.url}/api/v1/token", data={"username": name, "password": password}).status_code


def test_invited_people_can_log_in_and_vote(task: Task) -> None:
    task.generate(ANSWERS)
    task.setup()
    task.set(annotators='["inès", "Bo.b_3"]'.replace("inès", "ines"))
    client = connect(task.config)
    assert invite(client, task.config) == ["ines", "Bo.b_3"]
    path = task.data / "private" / "annotators.csv"
    if os.name == "posix":
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    passwords = read_passwords(path)
    assert list(passwords) == ["ines", "Bo.b_3"] and len(set(passwords.values())) == 2
    assert all(log_in(task, name, password) == 201 for name, password in passwords.items())
    task.vote("ines", next(iter(task.records().values())), "good")

    task.set(annotators='["ines", "Bo.b_3", "zuri", "zuri"]')
    assert invite(client, task.config) == ["zuri"]
    assert invite(client, task.config) == []
    assert {name: read_passwords(path)[name] for name in passwords} == passwords
    assert all(log_in(task, name, password) == 201 for name, password in read_passwords(path).items())
    ignored = subprocess.run(["git", "init", "-q", "."], cwd=task.project, check=True)
    ignored = subprocess.run(["git", "check-ignore", str(path)], cwd=task.project, stdout=subprocess.DEVNULL)
    assert ignored.returncode == 0, "git must not share passwords"


def test_accounts_that_exist_keep_their_password(task: Task) -> None:
    task.generate(ANSWERS)
    task.setup()
    task.person("carla")  # somebody else has made this account
    task.set(annotators='["carla", "owner"]')
    assert invite(connect(task.config), task.config) == []
    assert log_in(task, "carla", "password of carla") == 201
    assert not (task.data / "private" / "annotators.csv").exists()


def test_people_keep_their_password_on_a_new_argilla(task: Task) -> None:
    task.generate(ANSWERS)
    task.setup()
    task.set(annotators='["dede"]')
    path = task.data / "private" / "annotators.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("name,password\ndede,abcd-efgh-jkmn\n", encoding="utf-8")
    assert invite(connect(task.config), task.config) == ["dede"]
    assert log_in(task, "dede", "abcd-efgh-jkmn") == 201


def test_the_table_of_passwords_as_a_spreadsheet_saves_it(tmp_path: Path, english: None) -> None:
    path = tmp_path / "annotators.csv"
    assert read_passwords(path) == {}
    path.write_bytes(b"\xef\xbb\xbfname;password\r\ndede;abcd-efgh-jkmn\r\nnobody;\r\n")
    assert read_passwords(path) == {"dede": "abcd-efgh-jkmn"}
    for spoilt in (b"name,secret\ndede,x\n", b"", b"name,password\n\xff,x\n"):
        path.write_bytes(spoilt)
        with pytest.raises(UserError, match=r"annotators.csv cannot be read, or it lacks .* name, password"):
            read_passwords(path)


# --- no Argilla -------------------------------------------------------------------------------------------------------


class SomethingElse(BaseHTTPRequestHandler):
    """A web server that is not Argilla: it says 404 below /missing, and else a page or JSON."""

    def do_GET(self) -> None:
        kind, body = ("text/html", b"<html></html>") if "page" in self.path else ("application/json", b'{"hello": 1}')
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.parametrize("where", ["missing", "page", "json"])
def test_a_server_that_is_no_argilla(task: Task, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SomethingElse) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ARGILLA_API_URL", f"http://127.0.0.1:{server.server_port}/{where}")
        with pytest.raises(UserError, match="is not Argilla"):
            connect(task.config)
        server.shutdown()


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"ARGILLA_API_URL": "http://127.0.0.1:9"}, "Nothing answers at http://127.0.0.1:9 ("),
        ({"ARGILLA_API_URL": "127.0.0.1:6900"}, "Nothing answers at 127.0.0.1:6900 ("),
        ({"ARGILLA_API_URL": "http://[::1"}, "Nothing answers at http://[::1 ("),
        ({"ARGILLA_API_KEY": "wrong-key"}, "does not know this key"),
    ],
)
def test_argilla_cannot_be_used(task: Task, env: dict[str, str], sentence: str) -> None:
    done = task.export_command(**env)
    assert done.returncode == 1 and done.stdout == ""
    assert sentence in done.stderr and done.stderr.count("\n") == 1 and ". " in done.stderr


def test_nothing_is_set(task: Task) -> None:
    (task.project / ".env").unlink()
    done = task.export_command()
    assert done.returncode == 1
    assert done.stderr.startswith("ARGILLA_API_URL and ARGILLA_API_KEY are not set. Start Argilla with:")


def test_the_key_of_an_annotator(task: Task) -> None:
    done = task.export_command(ARGILLA_API_KEY=task.person("amina").headers["X-Argilla-Api-Key"])
    assert done.returncode == 1
    assert "belongs to somebody who is not the owner" in done.stderr and done.stderr.count("\n") == 1
