"""The whole way, as a community goes it: render, ask, vote in the browser, export, publish, train.

Everything is real (models served by `transformers serve`, distilabel, Argilla and its web page in Chromium, the
notebook, TRL, huggingface_hub) but the Hub itself. The commands are those of the rendered README. The pictures go to
`KTO_SCREENSHOTS`, if that is set.
"""

import csv
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import earlier_project
import httpx
import nbformat
import pyarrow.parquet as pq
import pytest
from argilla_server import ArgillaServer
from browser import Page, open_browser
from generating import DUTCH, use
from model_server import ModelServer
from rendering import REPOSITORY, bake, read_yaml
from standin_hub import StandinHub
from tiny_models import make_tiny_model
from voting import Task

PEOPLE = ["amina", "bram", "carmen"]
CONVERSATIONS = {
    "nl": [
        ("Hoe houd ik brood vers?", "Bewaar het in een papieren zak en vries in wat je niet binnen twee dagen opeet."),
        ("Wat helpt tegen verkoudheid?", "Rust uit, drink genoeg en ga naar de dokter als het niet beter wordt."),
        ("Hoe kan ik thuis water besparen?", "Douche korter en repareer elke kraan die druppelt."),
        ("Hoe laat ik een band plakken?", "Breng je fiets naar een fietsenmaker; dat is zo gebeurd."),
        ("Wat is hutspot?", "Hutspot is een stamppot van aardappelen, wortels en uien."),
        ("Wat betekent “appje”?", "Een appje is een kort bericht op je telefoon."),
        ("Hoe leer ik fietsen?", "Begin op een rustig plein, met het zadel laag."),
        ("Wanneer plant ik tulpen?", "Plant tulpenbollen in de herfst, voordat het gaat vriezen."),
    ],
    "ar": [
        ("كيف أحافظ على الخبز طازجًا؟", "ضعه في كيس من الورق، وجمّد ما لن تأكله خلال يومين."),
        ("ما الذي يساعد عند الزكام؟", "استرح واشرب ما يكفي من الماء، وزر الطبيب إذا لم تتحسن."),
        ("كيف أوفر الماء في البيت؟", "استحم في وقت أقصر وأصلح كل صنبور يقطر."),
        ("كيف أعدّ الشاي بالنعناع؟", "اغلِ الماء، وأضف الشاي والنعناع والسكر، وانتظر خمس دقائق."),
        ("ما هي الكبسة؟", "الكبسة أرز يُطبخ مع اللحم والبهارات."),
        ("متى يُزرع الزيتون؟", "يُزرع الزيتون عادة في الخريف أو في أول الربيع."),
        ("كيف أتعلم السباحة؟", "ابدأ في ماء قليل العمق، مع مدرّب."),
        ("ماذا تعني كلمة «merci» الفرنسية؟", "تعني «شكرًا»."),
    ],
}


@pytest.fixture(scope="module")
def hub() -> Iterator[StandinHub]:
    with StandinHub() as hub:
        yield hub


@pytest.fixture(scope="module", autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One environment for the projects of all languages; Python keeps the bytecode, which uv does not make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UV_PROJECT_ENVIRONMENT", str(tmp_path_factory.mktemp("projects") / "environment"))
        patch.delenv("PYTHONDONTWRITEBYTECODE")
        yield


def command(project: Path, *words: str, status: int = 0, **env: str) -> str:
    """Run a command in the project and return what it printed; nobody ever sees a traceback."""
    done = subprocess.run(
        words,
        cwd=project,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_TOKEN": "", "VIRTUAL_ENV": "", **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=600,
    )
    assert done.returncode == status, f"{words}: {done.stdout}"
    assert "Traceback" not in done.stdout, done.stdout
    return done.stdout


def make_project(language: str, folder: Path) -> Path:
    """Render with two tiny models and eight prompts of the community's own."""
    prompts = folder / "prompts.jsonl"
    lines = [json.dumps({"prompt": question}, ensure_ascii=False) for question, _ in CONVERSATIONS[language]]
    prompts.write_text("\n".join(lines) + "\n", encoding="utf-8")
    models = [folder / "one", folder / "two"]
    for model in models:
        model.mkdir()
    answers = [f"language={language}", "hub_owner=ann", f"prompts={prompts}", "inference=local"]
    done = bake(folder / "baked", "--no-input", *answers, f"models={models[0]}, {models[1]}")
    assert done.status == 0, done.output
    project = done.project
    system_prompt = (project / "prompts" / "system_prompt.txt").read_text(encoding="utf-8").removesuffix("\n")
    for seed, model in enumerate(models):
        known = CONVERSATIONS[language][seed : 6 + seed]
        make_tiny_model(model, seed, conversations=known, system_prompt=system_prompt)
    use(project, "generation", temperature=0.0, max_tokens=60)
    use(project, "annotation", annotators=PEOPLE)
    return project


def vote_in_the_browser(page: Page, pictures: Path, language: str) -> None:
    """One vote with the mouse, one with the keys, a draft and a discarded record."""
    assert page.vote_with_mouse("good") == ("submitted", "good")
    assert page.vote_with_keys("2") == ("submitted", "bad")
    assert page.save_draft("good") == ("draft", "good")
    page.next()
    assert page.discard()[0] == "discarded"
    page.find(CONVERSATIONS[language])
    page.screenshot(pictures / f"argilla-{language}.png")
    page.open_guidelines()
    page.screenshot(pictures / f"guidelines-{language}.png")


def client(url: str, name: str, password: str) -> httpx.Client:
    """Log in as the web page does."""
    token = httpx.post(f"{url}/api/v1/token", data={"username": name, "password": password}).raise_for_status().json()
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token['access_token']}"}, timeout=60)


def queue(person: httpx.Client, dataset: str) -> list[str]:
    """Return the ids of the records that Argilla's page shows this person as pending."""
    terms = [
        {"type": "terms", "scope": {"entity": entity, "property": "status"}, "values": ["pending"]}
        for entity in ("response", "record")
    ]
    body = {"query": {}, "filters": {"type": "and", "and": terms}}
    found = person.post(f"/api/v1/me/datasets/{dataset}/records/search", json=body, params={"limit": 100})
    return [item["record"]["id"] for item in found.raise_for_status().json()["items"]]


def respond(person: httpx.Client, record: str, vote: str | None) -> None:
    """Vote on a record, or discard it, as the page does."""
    body = {"status": "submitted", "values": {"vote": {"value": vote}}} if vote else {"status": "discarded"}
    person.post(f"/api/v1/records/{record}/responses", json=body).raise_for_status()


def vote_by_api(
    url: str, dataset: str, name: str, password: str, opinions: dict[str, str], differ: dict[str, str]
) -> int:
    """Vote on every record that is still pending for this person; `opinions`: answer → good, anything else is bad.

    `differ` has votes by record, which come first.
    """
    with client(url, name, password) as person:
        path = f"/api/v1/me/datasets/{dataset}/records/search"
        query = {"query": None, "filters": None}
        pending = {"include": "responses", "response_status": "pending", "limit": 100}
        body = {key: value for key, value in query.items() if value}
        found = person.post(path, params=pending, json=body).raise_for_status().json()["items"]
        for item in found:
            record = item["record"]
            respond(person, record["id"], differ.get(record["id"]) or opinions.get(record["fields"]["answer"], "bad"))
        return len(found)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("language", ["nl", "ar"])
def test_the_whole_way(language: str, hub: StandinHub, tmp_path: Path) -> None:
    if shutil.which("chromium") is None and not os.environ.get("KTO_CHROMIUM"):
        pytest.skip("no Chromium on this machine; KTO_CHROMIUM names one")
    pictures = Path(os.environ.get("KTO_SCREENSHOTS") or tmp_path)
    pictures.mkdir(parents=True, exist_ok=True)
    project = make_project(language, tmp_path)
    run = "uv", "run", "--quiet"

    # Ask: all answers are there, and a second run asks for nothing.
    command(project, *run, "check.py")
    command(project, *run, "generate.py", "--limit", "8")
    rows = pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()
    assert [row["input"] for row in rows] == [question for question, _ in CONVERSATIONS[language]]
    assert all(len(row["generations"]) == 2 and None not in row["generations"] for row in rows)
    learned = {answer for _, answer in CONVERSATIONS[language]}
    assert len([answer for row in rows for answer in row["generations"] if answer in learned]) > 6
    logs = [path.stat().st_mtime_ns for path in (project / "data" / "logs").iterdir()]
    command(project, *run, "generate.py")
    assert [path.stat().st_mtime_ns for path in (project / "data" / "logs").iterdir()] == logs, "no server was started"

    with ArgillaServer(project, python="") as server:
        # Set up, twice: nothing appears twice.
        said = command(project, *run, "vote.py")
        assert f"{server.url}/dataset/" in said
        # The notebook as an editor runs it, with the kernel of the project's environment.
        command(project, *run, "--with", "nbclient==0.11.0", "jupyter", "execute", "setup_argilla.ipynb")
        assert not any(cell.get("outputs") for cell in nbformat.read(project / "setup_argilla.ipynb", 4).cells)
        with open(project / "data" / "private" / "annotators.csv", encoding="utf-8", newline="") as file:
            passwords = {row["name"]: row["password"] for row in csv.DictReader(file)}
        assert list(passwords) == PEOPLE
        with client(server.url, server.username, server.password) as owner:
            (dataset,) = owner.get("/api/v1/me/datasets").json()["items"]
            records = owner.get(f"/api/v1/datasets/{dataset['id']}/records", params={"limit": 100}).json()["items"]
        assert len(records) == len({(row["input"], answer) for row in rows for answer in row["generations"]})

        # Vote: one person in the browser, the others by the API of the web page.
        with open_browser(server.url, language) as page:
            page.log_in("amina", passwords["amina"])
            vote_in_the_browser(page, pictures, language)
        opinions = dict.fromkeys(learned, "good")
        with client(server.url, "amina", passwords["amina"]) as amina:
            one, other, *_ = queue(amina, dataset["id"])
            counts = [
                vote_by_api(server.url, dataset["id"], name, passwords[name], opinions, {one: vote, other: vote})
                for name, vote in zip(PEOPLE[1:], ("good", "bad"), strict=True)
            ]
            assert min(counts) > 2
            # Where these two differ, Argilla's page asks a third person; she votes on one, and the other stays tied.
            assert {one, other} <= {*queue(amina, dataset["id"])}
            respond(amina, one, "good")
            respond(amina, other, None)
            assert not {one, other} & {*queue(amina, dataset["id"])}
        tied = next(record["external_id"] for record in records if record["id"] == other)
        said = command(project, *run, "vote.py", "ties")
        assert f"vote.py ties {tied[:12]} good" in said
        command(project, *run, "vote.py", "ties", tied, "bad")

        # Export and publish; a second setup changes no vote.
        command(project, *run, "vote.py")
        said = command(project, *run, "export.py", "--push", **hub.env(tmp_path / "hf"))
    assert str(project / "data" / "kto") in said

    votes = pq.read_table(project / "data" / "votes" / "train.parquet").to_pylist()
    assert len({vote["annotator"] for vote in votes}) == 3
    assert not any(name in json.dumps(votes, default=str) for name in PEOPLE)
    by_person: dict[str, list[bool]] = {}
    for vote in votes:
        by_person.setdefault(vote["annotator"], []).append(vote["vote"])
    # Amina's draft and discarded record are no votes; the others have voted on what was left.
    assert sorted(map(len, by_person.values())) == sorted([3, *counts])
    assert [False, True, True] in [sorted(opinions) for opinions in by_person.values()]
    kto = [row for path in (project / "data" / "kto").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert kto and {row["label"] for row in kto} == {True, False}
    for row in kto:
        assert [message["role"] for message in row["prompt"]] == ["system", "user"]
        assert [message["role"] for message in row["completion"]] == ["assistant"]
        assert row["n_votes"] >= 1 and 0.5 <= row["agreement"] <= 1
        assert not Path(row["generation_model"][0]).is_absolute(), "no path of a machine is published"

    decided = {row["label_from"]: (row["label"], row["n_votes"]) for row in kto if row["label_from"] != "majority"}
    assert decided == {"third_vote": (True, 3), "lead": (False, 2)}

    # What was published is what was exported, and private.
    slug = tomllib.loads((project / "settings.toml").read_text(encoding="utf-8"))["project"]["slug"]
    published = hub.repos[f"datasets/ann/{slug}"]
    assert published.private and not hub.unexpected
    load = "from datasets import load_dataset; import json, sys; d = load_dataset(sys.argv[1], token='hf_standin')"
    load += "; print('\\n' + json.dumps([row for split in d.values() for row in split]))"
    said = command(project, sys.executable, "-c", load, f"ann/{slug}", **hub.env(tmp_path / "hf2"))
    back = json.loads(said.strip().splitlines()[-1])
    key = lambda row: (row["prompt_id"], row["completion"][0]["content"])  # noqa: E731
    assert sorted(map(key, back)) == sorted(map(key, kto))
    card = published.files["README.md"].decode()
    texts = read_yaml(project / "kto" / "texts.yaml")["dataset_card"]
    assert f"| {texts['votes']} | {len(votes)} |" in card
    assert f"| {texts['annotators']} | 3 |" in card

    # Train, from the rows of this project, by the very script of the project.
    said = command(project, sys.executable, "train.py", "--model", str(tmp_path / "one"), "--max-steps", "2")
    assert (project / "data" / "model" / "model.safetensors").is_file(), said
    assert "Traceback" not in said


@pytest.mark.timeout(900)
def test_the_whole_way_of_an_updated_project(tmp_path: Path) -> None:
    """A project of an earlier version with edits, answers and votes is updated and goes on; no answer is paid twice."""
    project, run = earlier_project.edited(tmp_path / "kto-test"), ("uv", "run", "--quiet")
    earlier_project.put_argilla(project)
    table, votes = project / "data" / "generations" / "train.parquet", project / "data" / "votes" / "train.parquet"
    votes_before = pq.read_table(votes).to_pylist()
    missing = {
        (model, row["input"])
        for row in pq.read_table(table).to_pylist()
        for model, raw in zip(row["generation_model"], row["raw_generation_responses"], strict=True)
        if not raw
    }
    command(REPOSITORY, sys.executable, "-B", "tools/update.py", str(project))
    (project / "export.new.py").replace(project / "export.py")  # as the list says
    said = command(project, *run, "python", "-c", "from kto.texts import t; print(t('task.vote'), t('task.good'))")
    assert said.startswith("Wat vind je? ")

    with ModelServer() as models:
        models.reply = lambda body: f"{DUTCH} Ja."
        for _ in range(2):
            command(project, *run, "generate.py", "--base-url", models.url)
            assert [(chat.model, chat.prompt) for chat in models.chats] == list(missing)
    assert all(answer for row in pq.read_table(table).to_pylist() for answer in row["generations"])

    with ArgillaServer(project, python="") as server:  # with the people and votes that it had
        command(project, *run, "vote.py")
        task = Task(project, server.url, server.api_key)
        task.people["owner"] = task._client(server.api_key)
        records = task.records()
        assert sum(len(record["responses"]) for record in records.values()) > len(votes_before)
        [(_, prompt)] = missing
        task.vote("carmen", records[prompt, f"{DUTCH} Ja."], "good")
        command(project, *run, "export.py")
        for client in task.people.values():
            client.close()

    def key(vote: dict) -> str:
        return repr([vote[name] for name in ("annotator", "record_id", "vote", "reasons")])  # answers lose thoughts

    votes_after = pq.read_table(votes).to_pylist()
    assert {key(vote) for vote in votes_before} < {key(vote) for vote in votes_after}
    assert len(votes_after) == len(votes_before) + 1
    kto = [row for path in (project / "data" / "kto").glob("*.parquet") for row in pq.read_table(path).to_pylist()]
    assert {row["label"] for row in kto} == {True, False}

    settings = project / "project.toml"
    settings.write_text(settings.read_text(encoding="utf-8").replace("batch_size = 4", "batch_size = 2"), "utf-8")
    make_tiny_model(tmp_path / "one", steps=0)
    command(project, sys.executable, "train.py", "--model", str(tmp_path / "one"), "--max-steps", "2")
    assert (project / "data" / "model" / "model.safetensors").is_file()
