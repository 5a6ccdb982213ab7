"""An Argilla Space, made by the real huggingface_hub on a stand-in Hub."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from huggingface_hub import SpaceCard
from rendering import TEMPLATE, render
from standin_hub import TOKEN, StandinHub, User
from voting import Task

sys.path.insert(0, str(TEMPLATE))

from kto import dotenv

SPACE = "spaces/ann/argilla"
MAKE = """
import sys
from kto import command_line
from kto.settings import load as load_settings
from kto.vote import space
command_line.run(lambda: print(space.create_space(load_settings(), timeout=1, pause=0.05)) or 0)
"""


@pytest.fixture
def hub() -> Iterator[StandinHub]:
    with StandinHub() as hub:
        yield hub
        assert hub.unexpected == []


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """A project whose Space is ann/argilla; there is no Argilla here."""
    task = Task(render(tmp_path / "project"), "", "")
    task.set(space='"ann/argilla"')
    return task


def make(task: Task, hub: StandinHub, **env: str) -> tuple[int, str, str]:
    done = task.run("-c", MAKE, **{**hub.env(task.project / "hub"), **env})
    return done.returncode, done.stdout.strip(), done.stderr


def test_a_space_with_secrets_of_its_own(task: Task, hub: StandinHub) -> None:
    (task.project / ".env").write_text("# mine\nOPENAI_API_KEY=x\n", encoding="utf-8")
    address = "https://ann-argilla.hf.space"
    assert make(task, hub) == (0, address, "")
    repo = hub.repos[SPACE]
    assert not repo.private and repo.info["sdk"] == "docker"
    assert repo.secrets.keys() == {"USERNAME", "PASSWORD", "API_KEY", "WORKSPACE"}
    assert (repo.secrets["USERNAME"], repo.secrets["WORKSPACE"]) == ("ann", "argilla")
    assert len(repo.secrets["PASSWORD"]) >= 16 and len(repo.secrets["API_KEY"]) >= 32

    login = dotenv.read(task.data / "private" / "space-ann--argilla.env")
    assert login == {"SPACE": "ann/argilla", **repo.secrets}
    env = dotenv.read(task.project / ".env")
    assert env == {"OPENAI_API_KEY": "x", "ARGILLA_API_URL": address, "ARGILLA_API_KEY": repo.secrets["API_KEY"]}

    files = {name: blob.data.decode() for name, blob in repo.commits[-1].files.items()}
    assert {"Dockerfile", ".oauth.yaml", "README.md"} <= files.keys()
    assert "FROM argilla/argilla-hf-spaces:v2.8.0\n" in files["Dockerfile"]
    oauth = yaml.safe_load(files[".oauth.yaml"])
    assert oauth == {"providers": [{"name": "huggingface"}], "allowed_workspaces": [{"name": "argilla"}]}
    card = SpaceCard(files["README.md"]).data
    assert (card["sdk"], card["app_port"], card["hf_oauth"]) == ("docker", 6900, True)
    for secret in (repo.secrets["PASSWORD"], repo.secrets["API_KEY"]):
        assert not any(secret in text for text in files.values())

    # A second time: same Space, same secrets, nobody is locked out; and no build, which would forget the votes.
    before, commits = dict(repo.secrets), len(repo.commits)
    page = task.project / "publish" / "space" / "README.md"
    page.write_text(page.read_text(encoding="utf-8") + "\nOur own words.\n", encoding="utf-8")
    for stage in ("RUNNING", "PAUSED", "BUILDING"):
        repo.stage = stage
        assert make(task, hub)[:2] == ((0, address) if stage == "RUNNING" else (1, ""))
        assert repo.secrets == before and len(repo.commits) == commits
    assert dotenv.read(task.data / "private" / "space-ann--argilla.env") == login


def test_a_page_that_an_editor_has_marked(task: Task, hub: StandinHub) -> None:
    page = task.project / "publish" / "space" / "README.md"
    page.write_bytes(b"\xef\xbb\xbf" + page.read_bytes())
    assert make(task, hub)[0] == 0
    sent = hub.repos[SPACE].files["README.md"]
    assert sent.startswith(b"---\n") and SpaceCard(sent.decode()).data["license"] == "cc-by-4.0"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda page: page.split("---\n", 2)[2].encode(), "does not begin with a line of three hyphens"),
        (lambda page: page.encode("utf-16"), "is not written in UTF-8"),
        (lambda page: page.replace("cc-by-4.0", "CC BY 4.0").encode(), "“license: CC BY 4.0”. Perhaps you mean: cc-by"),
        (lambda page: page.replace("sdk: docker", "sdk: [").encode(), "what “sdk” says"),
    ],
)
def test_a_page_that_cannot_go_out(task: Task, hub: StandinHub, spoil: Callable[[str], bytes], sentence: str) -> None:
    page = task.project / "publish" / "space" / "README.md"
    page.write_bytes(spoil(page.read_text(encoding="utf-8")))
    status, out, err = make(task, hub)
    assert (status, out, hub.repos) == (1, "", {}), err  # no Space without what belongs into it
    assert sentence in err and str(page) in err and err.count("\n") == 1


def test_two_spaces_keep_their_secrets(task: Task, hub: StandinHub) -> None:
    assert make(task, hub)[0] == 0
    first = dotenv.read(task.data / "private" / "space-ann--argilla.env")
    task.set(space='"ann/another"', workspace='"team-7"')
    assert make(task, hub)[0] == 0
    second = dotenv.read(task.data / "private" / "space-ann--another.env")
    assert (second["SPACE"], second["WORKSPACE"]) == ("ann/another", "team-7")
    assert second["PASSWORD"] != first["PASSWORD"]
    oauth = hub.repos["spaces/ann/another"].commits[-1].files[".oauth.yaml"].data
    assert yaml.safe_load(oauth)["allowed_workspaces"] == [{"name": "team-7"}]
    assert yaml.safe_load(oauth)["providers"] == [{"name": "huggingface"}]
    assert dotenv.read(task.data / "private" / "space-ann--argilla.env") == first
    task.set(space='"ann/argilla"')
    assert make(task, hub)[0] == 0  # and back
    assert dotenv.read(task.project / ".env")["ARGILLA_API_KEY"] == first["API_KEY"]


def test_no_plan_for_docker_spaces(task: Task, hub: StandinHub) -> None:
    hub.users[TOKEN] = User("ann", pro=False)
    status, out, err = make(task, hub)
    assert (status, out) == (1, "")
    assert err.startswith("The Hub refused to make the Space ann/argilla (") and "PRO" in err and err.count("\n") == 1
    assert hub.repos == {} and not (task.project / ".env").exists()
    hub.users[TOKEN] = User("ann")  # the account has a plan now
    assert make(task, hub)[0] == 0
    assert (
        dotenv.read(task.data / "private" / "space-ann--argilla.env")["PASSWORD"]
        == hub.repos[SPACE].secrets["PASSWORD"]
    )


def test_a_space_of_somebody_else(task: Task, hub: StandinHub) -> None:
    assert make(task, hub)[0] == 0
    (task.data / "private" / "space-ann--argilla.env").unlink()
    before = len(hub.repos[SPACE].commits)
    status, _, err = make(task, hub)
    assert status == 1 and err.startswith("There is a Space ann/argilla already")
    assert len(hub.repos[SPACE].commits) == before
    task.set(space='"bob/argilla"')
    status, _, err = make(task, hub)
    assert status == 1 and "bob/argilla" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"HF_TOKEN": ""}, "There is no token for the Hub."),
        ({"HF_TOKEN": "wrong"}, "The Hub does not accept the token."),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "The Hub cannot be reached ("),
    ],
)
def test_the_hub_refuses(task: Task, hub: StandinHub, env: dict[str, str], sentence: str) -> None:
    status, out, err = make(task, hub, **env)
    assert (status, out) == (1, "") and err.startswith(sentence) and err.count("\n") == 1
    assert not (task.data / "private").exists()


def test_no_space_is_named(task: Task, hub: StandinHub) -> None:
    task.set(space='""')
    status, _, err = make(task, hub)
    assert status == 1 and err.startswith("No Space is named.")


def test_a_space_that_does_not_start(task: Task, hub: StandinHub) -> None:
    assert make(task, hub)[0] == 0
    hub.repos[SPACE].stage = "BUILD_ERROR"
    before = len(hub.repos[SPACE].commits)
    dockerfile = task.project / "publish" / "space" / "Dockerfile"
    dockerfile.write_text(dockerfile.read_text(encoding="utf-8") + "# corrected\n", encoding="utf-8")
    status, _, err = make(task, hub)
    assert status == 1 and err.startswith("The Space ann/argilla does not run; it says BUILD_ERROR.")
    assert len(hub.repos[SPACE].commits) == before + 1  # what was wrong with it may have been corrected here
    hub.repos[SPACE].stage = "BUILDING"
    status, _, err = make(task, hub)
    assert status == 1 and "it says BUILDING" in err
