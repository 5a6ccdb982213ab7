"""export.py --push and what may happen on the Hub: cards that cannot go out, what others wrote there, a cut line."""

import copy
import io
import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from argilla_server import ArgillaServer
from huggingface_hub import DatasetCard, HfApi
from rendering import REPOSITORY, read_yaml
from standin_hub import ROUTES, TOKEN, StandinHub
from standin_parts import HubError, Repo
from voting import Task, argilla, english

__all__ = ["argilla", "english"]

ID = "datasets/ann/thumbs"
PROMPTS = ["How do I keep bread fresh?", "Why is the sky blue?", "Name five proverbs.", "Who fixes my bicycle?"]


@pytest.fixture(scope="module")
def voted(argilla: ArgillaServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    """A project with an owner on the Hub, and with votes in Argilla; each test gets it as it was."""
    folder = tmp_path_factory.mktemp("publish") / "project"
    shutil.copytree(argilla.project_dir, folder, ignore=shutil.ignore_patterns(".argilla", "*.log"))
    task = Task(folder, argilla.url, argilla.api_key)
    task.people["owner"] = task._client(argilla.api_key)
    task.set(dataset='"publishing"', hub_owner='"ann"', slug='"thumbs"', test_fraction="0.5", seed="2")
    texts = read_yaml(REPOSITORY / "languages" / "en.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kto.texts.load", lambda: texts)
        task.generate({prompt: ["one", "two"] for prompt in PROMPTS})
        task.setup()
        with task.together():
            for (_, answer), record in task.records().items():
                for name in ("amina", "piet"):
                    task.vote(name, record, "good" if answer == "one" else "bad")
        assert task.export().returncode == 0
    yield task
    for client in task.people.values():
        client.close()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    """A Hub that this process talks to."""
    with StandinHub() as hub:
        for name, value in {
            "ENDPOINT": hub.url,
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_OFFLINE": False,
        }.items():
            monkeypatch.setattr(huggingface_hub.constants, name, value)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", hub.url)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.url)
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False, raising=False)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub
        assert hub.unexpected == []


@pytest.fixture
def task(voted: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: StandinHub, english: None) -> Task:
    """A copy of the project; what it loads back from the Hub is kept in a cache of its own."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    project = Path(shutil.copytree(voted.project, tmp_path / "project"))
    return Task(project, voted.url, voted.key, voted.people)


def card_of(task: Task) -> Path:
    return task.project / "publish" / "dataset" / "README.md"


def facts(repo: Repo) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(repo.files["README.md"].decode().split("---\n")[1])
    return found


def load(repo: Repo, folder: Path, name: str | None = "kto") -> datasets.DatasetDict:
    """Load a configuration from the files of the newest commit, as `load_dataset` does from the Hub."""
    shutil.rmtree(folder, ignore_errors=True)
    for path, data in repo.files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    loaded = datasets.load_dataset(str(folder), name, cache_dir=str(folder.with_name("loaded")))
    assert isinstance(loaded, datasets.DatasetDict)
    return loaded


def sent(hub: StandinHub) -> list[str]:
    """Return what was asked of the Hub that leaves something there."""
    return [call.path for call in hub.requests if call.method != "GET" and "/validate-yaml" not in call.path]


def without_test(task: Task) -> None:
    """Let the next push be another one: without the split that the last one had."""
    task.set(test_fraction="0.0")
    shutil.rmtree(task.data / "kto")  # an exported prompt keeps its split


def push(task: Task) -> subprocess.CompletedProcess[str]:
    """Run export.py --push; what nobody catches is written to stderr, as Python does it."""
    try:
        return task.export("--push")
    except Exception:
        return subprocess.CompletedProcess((), 1, "", traceback.format_exc())


def pushed(task: Task) -> str:
    """Push, which must go well, and return the address that is said."""
    done = push(task)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].removeprefix("On the Hub: ")


# --- the card ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"\xef\xbb\xbf", b"\n\n", b"\xef\xbb\xbf\r\n"])
def test_what_an_editor_adds_does_no_harm(task: Task, hub: StandinHub, before: bytes) -> None:
    card_of(task).write_bytes(before + card_of(task).read_bytes().replace(b"\n", b"\r\n"))
    pushed(task)
    published = facts(hub.repos[ID])
    assert (published.get("license"), published.get("language")) == ("cc-by-4.0", ["en"])
    assert hub.repos[ID].files["README.md"].startswith(b"---\n")
    assert "| Votes | 16 |" in hub.repos[ID].files["README.md"].decode()


def change(old: str, new: str) -> Callable[[str], bytes]:
    def changed(card: str) -> bytes:
        assert old in card
        return card.replace(old, new, 1).encode()

    return changed


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda card: b"<!-- ours -->\n" + card.encode(), "license, language"),
        (lambda card: card.split("---\n", 2)[2].encode(), "license, language"),
        (lambda card: card.encode("utf-16"), "UTF-8"),
        (lambda card: card.encode("utf-16-le"), "UTF-8"),
        (change("license: cc-by-4.0", "license: CC BY 4.0"), "“license: CC BY 4.0”. Perhaps you mean: cc-by-4.0"),
        (change("license: cc-by-4.0", "license: CC-BY-SA-4.0"), "Perhaps you mean: cc-by-sa-4.0"),
        (change("license: cc-by-4.0", "license: cc-by-40"), "“license: cc-by-40”. Perhaps you mean: cc-by-4.0"),
        (change("license: cc-by-4.0\n", ""), "is missing between the lines of three hyphens: license"),
        (change("license: cc-by-4.0\n", "license:\n"), "three hyphens: license"),
        (change('language:\n- "en"\n', ""), "three hyphens: language"),
        (change('language:\n- "en"', "language: no"), "“language: False”. Such a word goes in quotation marks."),
        (change('language:\n- "en"', "language: pt-BR"), "“language: pt-BR”"),
        (change('pretty_name: "Thumbs up"', "pretty_name: A: b"), ", line 2: what “pretty_name” says"),
        (change('pretty_name: "Thumbs up"', "pretty_name: 1984"), "“pretty_name: 1984”"),
        (change("tags:\n- kto", "tags:\n- [kto"), "what “tags” says"),
        (change("tags:\n- kto", "tags:\n\t- kto"), "what “tags” says"),
    ],
)
def test_a_card_that_cannot_go_out(task: Task, hub: StandinHub, spoil: Callable[[str], bytes], sentence: str) -> None:
    before = spoil(card_of(task).read_text(encoding="utf-8"))
    card_of(task).write_bytes(before)
    done = push(task)
    assert (done.returncode, sent(hub)) == (1, [])
    assert sentence in done.stderr and str(card_of(task)) in done.stderr and done.stderr.count("\n") == 1


def test_the_hub_has_a_rule_that_we_do_not_know(task: Task, hub: StandinHub) -> None:
    hub.card_errors = ['"size_categories[0]" must be one of [n<1K, 1K<n<10K]']
    done = push(task)
    assert (done.returncode, sent(hub)) == (1, [])
    assert "size_categories" in done.stderr and done.stderr.count("\n") == 1


# --- a push that breaks off -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
def test_a_push_that_breaks_off_anywhere(task: Task, hub: StandinHub, tmp_path: Path, first: bool) -> None:
    """Whatever is there then has its licence and loads, and is the old state or the new one."""
    if not first:
        pushed(task)
        without_test(task)
    start = copy.deepcopy(hub.repos)
    begun = len(hub.requests)
    pushed(task)
    new = hub.repos[ID].files
    old = start[ID].files if start else {}
    for number in range(len(hub.requests) - begun):
        hub.repos = copy.deepcopy(start)
        hub._lfs.clear()
        fault = hub.fail("*", drop=True, after=number)
        done = push(task)
        fault.times = 0
        assert done.returncode == 1 and done.stderr.count("\n") == 1, number
        there = hub.repos[ID].files if ID in hub.repos else {}
        if "README.md" in there:
            assert facts(hub.repos[ID]).get("license") == "cc-by-4.0", number
            assert there == old
        else:
            assert not any(name.endswith(".parquet") for name in there), number
    pushed(task)
    assert hub.repos[ID].files == new
    assert sorted(load(hub.repos[ID], tmp_path / "copy")) == (["test", "train"] if first else ["train"])
    assert len(load(hub.repos[ID], tmp_path / "copy", "votes")["train"]) == 16


# --- what others wrote on the Hub -------------------------------------------------------------------------------------

OWN = """---
license: mit
language: [en]
configs:
- config_name: dpo
  data_files: dpo.csv
---
# Our dataset

Made by hand.
"""


def own(hub: StandinHub, **files: str) -> Repo:
    """Make the dataset by hand, before the project has ever pushed."""
    hub.repos[ID] = repo = Repo("datasets", "ann/thumbs", {"private": False, "gated": False})
    repo.add({name.replace("_", "."): text.encode() for name, text in files.items()})
    return repo


def edit(repo: Repo, old: str, new: str) -> None:
    card = repo.files["README.md"].decode()
    assert old in card
    repo.add({"README.md": card.replace(old, new, 1).encode()})


def test_a_dataset_made_by_hand(task: Task, hub: StandinHub) -> None:
    repo = own(hub, README_md=OWN, dpo_csv="a,b\n1,2\n")
    before = repo.files
    done = push(task)
    assert repo.files == before
    (request,) = repo.pulls
    assert done.returncode == 0 and done.stdout.endswith(f"On the Hub: {hub.url}/{ID}/discussions/1\n")
    assert "license, README.md" in done.stderr and done.stderr.count("\n") == 1
    proposed = request.commits[-1].files
    assert {"dpo.csv", "kto/train-00000-of-00001.parquet"} <= proposed.keys()

    # Again: the new request takes the place of the old one. Once it is merged, pushes go on as usual.
    assert pushed(task).endswith("/discussions/2")
    assert [pull.status for pull in repo.pulls] == ["closed", "open"]
    hub.merge("datasets", "ann/thumbs", 2)
    card_of(task).write_text(card_of(task).read_text(encoding="utf-8") + "\nOur words.\n", encoding="utf-8")
    assert pushed(task) == f"{hub.url}/{ID}"
    assert repo.files["README.md"].decode().endswith("Our words.\n") and len(repo.pulls) == 2
    assert [each["config_name"] for each in facts(repo)["configs"]] == ["kto", "votes", "dpo"]


def test_files_that_stand_there_without_a_card(task: Task, hub: StandinHub) -> None:
    """`load_dataset` takes them all, and would no more once there are configurations."""
    repo = own(hub, rows_csv="a,b\n1,2\n")
    before = repo.files
    done = push(task)
    assert repo.files == before and len(repo.pulls) == 1
    assert done.returncode == 0 and "rows.csv" in done.stderr


def test_a_configuration_of_the_same_name(task: Task, hub: StandinHub) -> None:
    front_matter = "license: cc-by-4.0\nconfigs:\n- config_name: kto\n  data_files: kto.csv\n"
    repo = own(hub, README_md=f"---\n{front_matter}---\n", kto_csv="a,b\n1,2\n")
    before = repo.files
    done = push(task)
    assert repo.files == before and len(repo.pulls) == 1
    assert done.returncode == 0 and ": kto." in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("license: cc-by-4.0", "license: cc0-1.0", "license"),
        ("# Thumbs up\n", "# Thumbs up\n\nSee our paper.\n", "README.md"),
        ("- distilabel", "- distilabel\n- swahili", "tags"),
    ],
)
def test_a_card_edited_on_the_hub(task: Task, hub: StandinHub, old: str, new: str, name: str) -> None:
    pushed(task)
    repo = hub.repos[ID]
    edit(repo, old, new)
    edited = repo.files
    without_test(task)
    done = push(task)
    assert repo.files == edited
    assert len(repo.pulls) == 1 and f": {name}." in done.stderr and done.returncode == 0

    # Taken over here, nothing is in the way any more.
    card_of(task).write_text(card_of(task).read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    assert pushed(task) == f"{hub.url}/{ID}" and new in repo.files["README.md"].decode()


@pytest.mark.parametrize("answer", ["", "n"])
def test_a_person_decides(task: Task, hub: StandinHub, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    pushed(task)
    repo = hub.repos[ID]
    edit(repo, "# Thumbs up\n", "# Thumbs up\n\nSee our paper.\n")
    questions = []
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: questions.append(question) or answer)
    hub.fail("*/commit/main", 503, times=1)  # tried again, but not asked again
    url = pushed(task)
    assert len(questions) == 1 and "README.md" in questions[0]
    assert url.endswith("/discussions/1") == bool(answer)
    assert ("See our paper." in repo.files["README.md"].decode()) == bool(answer)


def test_what_is_only_there_stays(task: Task, hub: StandinHub, tmp_path: Path) -> None:
    """Another configuration, the default among them, and facts that our card does not have."""
    pushed(task)
    repo = hub.repos[ID]
    edit(repo, "license: cc-by-4.0\n", "license: cc-by-4.0\nsize_categories:\n- n<1K\n")
    edit(repo, "configs:\n", "configs:\n- config_name: dpo\n  data_files: dpo/*.parquet\n")
    table = io.BytesIO()
    pq.write_table(pa.table({"chosen": ["yes"], "rejected": ["no"]}), table)
    repo.add({"dpo/train.parquet": table.getvalue(), "kto/notes.md": b"theirs"})
    without_test(task)
    for _ in range(2):
        assert pushed(task) == f"{hub.url}/{ID}" and not repo.pulls
        assert facts(repo).get("size_categories") == ["n<1K"]
        assert [each["config_name"] for each in facts(repo)["configs"]] == ["kto", "votes", "dpo"]
        assert sorted(load(repo, tmp_path / "copy")) == ["train"]
        assert load(repo, tmp_path / "copy", "dpo")["train"].to_list() == [{"chosen": "yes", "rejected": "no"}]
    assert repo.files["kto/notes.md"] == b"theirs"
    edit(repo, "config_name: dpo\n", "config_name: dpo\n  default: true\n")
    edit(repo, "  default: true\n- config_name: votes", "- config_name: votes")
    assert pushed(task) == f"{hub.url}/{ID}"
    assert load(repo, tmp_path / "copy", None)["train"].column_names == ["chosen", "rejected"]


def push_as_before(task: Task, card: str, *, until: int = 3) -> None:
    """Push as projects did before they looked first: two configurations, then the card, in three commits."""
    api = HfApi(endpoint=huggingface_hub.constants.ENDPOINT, token=TOKEN)
    for name, splits in (("kto", ("train", "test")), ("votes", ("train",)))[:until]:
        tables = {split: datasets.Dataset(pq.read_table(task.data / name / f"{split}.parquet")) for split in splits}
        datasets.DatasetDict(tables).push_to_hub("ann/thumbs", config_name=name, token=TOKEN)
    if until == 3:
        filled = DatasetCard(card)
        filled.data["dataset_info"] = DatasetCard.load("ann/thumbs", token=TOKEN).data["dataset_info"]
        filled.data["configs"] = DatasetCard.load("ann/thumbs", token=TOKEN).data["configs"]
        page = str(filled).encode()
        api.upload_file(path_or_fileobj=page, path_in_repo="README.md", repo_id="ann/thumbs", repo_type="dataset")


@pytest.mark.parametrize("until", [1, 2, 3])
def test_a_project_that_has_pushed_before(task: Task, hub: StandinHub, tmp_path: Path, until: int) -> None:
    """Nothing of others is lost, so nobody is asked: also where the card here has changed, or that push broke off."""
    card = card_of(task).read_text(encoding="utf-8")
    push_as_before(task, card, until=until)
    card_of(task).write_text(card.replace("cc-by-4.0", "cc-by-sa-4.0") + "\nOur words.\n", encoding="utf-8")
    without_test(task)
    assert pushed(task) == f"{hub.url}/{ID}"
    repo = hub.repos[ID]
    assert not repo.pulls and facts(repo)["license"] == "cc-by-sa-4.0"
    assert sorted(name for name in repo.files if name.endswith(".parquet")) == [
        "kto/train-00000-of-00001.parquet",
        "votes/train-00000-of-00001.parquet",
    ]
    assert sorted(load(repo, tmp_path / "copy")) == ["train"]

    edit(repo, "Our words.", "Their words.")
    assert pushed(task).endswith("/discussions/1") and "Their words." in repo.files["README.md"].decode()


def test_edited_after_an_earlier_push(task: Task, hub: StandinHub) -> None:
    push_as_before(task, card_of(task).read_text(encoding="utf-8"))
    edit(hub.repos[ID], "license: cc-by-4.0", "license: cc0-1.0")
    assert pushed(task).endswith("/discussions/1")
    assert facts(hub.repos[ID])["license"] == "cc0-1.0"


def test_edited_while_we_push(task: Task, hub: StandinHub, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed(task)
    repo, preupload = hub.repos[ID], StandinHub.preupload

    def meanwhile(*arguments: Any, **values: str) -> dict:
        if not any("See our paper." in str(commit.files["README.md"].data) for commit in repo.commits[1:]):
            edit(repo, "# Thumbs up\n", "# Thumbs up\n\nSee our paper.\n")
        return preupload(*arguments, **values)

    routes = [(methods, path, meanwhile if handler is preupload else handler) for methods, path, handler in ROUTES]
    monkeypatch.setattr("standin_hub.ROUTES", routes)
    without_test(task)
    assert pushed(task).endswith("/discussions/1")
    assert "See our paper." in repo.files["README.md"].decode()


# --- a Hub that fails -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [409, 412, 500, 503])
def test_what_passes_is_tried_again(task: Task, hub: StandinHub, status: int) -> None:
    hub.fail("*/commit/main", status, times=2)
    assert pushed(task) == f"{hub.url}/{ID}"
    assert facts(hub.repos[ID])["license"] == "cc-by-4.0" and len(hub.repos[ID].commits) == 2


@pytest.mark.parametrize("path", ["/api/datasets/ann/thumbs", "/api/validate-yaml", "/api/repos/create"])
def test_every_request_is_tried_again(task: Task, hub: StandinHub, path: str) -> None:
    hub.fail(path, 503, times=2)
    assert pushed(task) == f"{hub.url}/{ID}"


def test_an_answer_that_is_lost_makes_no_second_commit(
    task: Task, hub: StandinHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, lost = StandinHub.commit, []

    def silent(*arguments: Any, **values: str) -> dict:
        answer = commit(*arguments, **values)
        if not lost:
            lost.append(answer)
            raise HubError(504, "Gateway Time-out")
        return answer

    routes = [(methods, path, silent if handler is commit else handler) for methods, path, handler in ROUTES]
    monkeypatch.setattr("standin_hub.ROUTES", routes)
    assert pushed(task) == f"{hub.url}/{ID}"
    assert lost and len(hub.repos[ID].commits) == 2


@pytest.mark.parametrize(
    ("path", "fault", "sentence"),
    [
        ("*/commit/main", {"status": 409}, "Somebody else is changing ann/thumbs on the Hub."),
        ("*/commit/main", {"status": 412}, "Somebody else is changing ann/thumbs on the Hub."),
        ("*/commit/main", {"status": 413}, "The upload for ann/thumbs is larger than the Hub"),
        ("*/commit/main", {"status": 429}, "The Hub has had too many requests"),
        ("*/commit/main", {"drop": True}, "The Hub cannot be reached ("),
        (
            "*/commit/main",
            {"status": 500},
            "The Hub could not complete the request for ann/thumbs (The stand-in was told",
        ),
        ("/lfs-storage/*", {"drop": True}, "The Hub cannot be reached ("),
        ("/lfs-storage/*", {"status": 413}, "The upload for ann/thumbs is larger than the Hub"),
        ("/lfs-storage/*", {"status": 503}, "The Hub could not complete the request for ann/thumbs ("),
        ("*/info/lfs/objects/batch", {"drop": True}, "The Hub cannot be reached ("),
        ("*/preupload/main", {"status": 403}, "The token may not write to ann/thumbs."),
    ],
)
def test_what_does_not_pass_is_said_in_one_sentence(
    task: Task, hub: StandinHub, path: str, fault: dict[str, Any], sentence: str
) -> None:
    hub.fail(path, **fault)
    done = push(task)
    assert done.stderr.startswith(sentence) and done.stderr.count("\n") == 1
    assert done.returncode == 1 and "\n" not in done.stderr.strip()


def test_an_error_of_the_hub_has_a_type_and_fields(hub: StandinHub, english: None) -> None:
    from kto.errors import HubError, HubTokenRefused
    from kto.hub import hub_errors

    with pytest.raises(HubTokenRefused) as raised, hub_errors("ann/thumbs"):
        HfApi(token="wrong").whoami()
    assert (raised.value.status, raised.value.repo_id) == (401, "ann/thumbs") and raised.value.detail
    assert isinstance(raised.value, HubError) and str(raised.value).startswith("The Hub does not accept the token.")


def test_an_account_that_is_full(task: Task, hub: StandinHub, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "Private repository storage limit reached, please upgrade your plan"

    def full(*_: Any, **__: str) -> dict:
        raise HubError(403, said)

    routes = [(methods, path, full if path.endswith("objects/batch") else handler) for methods, path, handler in ROUTES]
    monkeypatch.setattr("standin_hub.ROUTES", routes)
    done = push(task)
    assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1


def test_large_tables_are_several_files(
    task: Task, hub: StandinHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kto.hub.SHARD", 1000, raising=False)
    pushed(task)
    repo = hub.repos[ID]
    assert len([name for name in repo.files if name.startswith("votes/train-")]) == 4
    assert len(load(repo, tmp_path / "copy", "votes")["train"]) == 16
    monkeypatch.setattr("kto.hub.SHARD", 10**9, raising=False)
    pushed(task)
    assert [name for name in repo.files if name.startswith("votes/")] == ["votes/train-00000-of-00001.parquet"]
