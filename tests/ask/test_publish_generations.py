"""generate.py --push: the answers as a dataset of their own, through the real clients, on the stand-in Hub."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from generating import PROMPTS, environment, run, use
from model_server import ModelServer
from standin_hub import StandinHub

pytest_plugins = ["generating_fixtures"]


@pytest.fixture
def hub() -> Iterator[StandinHub]:
    with StandinHub() as hub:
        yield hub


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


def test_the_answers_and_their_card(project: Path, hub: StandinHub, server: ModelServer, tmp_path: Path) -> None:
    use(project, "project", hub_owner="ann", slug="bread")
    env = hub.env(tmp_path / "hf") | {"HF_HUB_OFFLINE": "0"}
    done = run(project, "generate.py", "--base-url", server.url, "--push", env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "/datasets/ann/bread-generations" in done.stdout
    published = hub.repos["datasets/ann/bread-generations"]
    assert published.private and not hub.unexpected

    load = "from datasets import load_dataset; import json, sys; d = load_dataset(sys.argv[1], split='train')"
    load += "; print('\\n' + json.dumps(d.to_list()))"
    command = [sys.executable, "-c", load, "ann/bread-generations"]
    said = subprocess.run(command, env=environment(env | hub.env(tmp_path / "hf2")), capture_output=True, text=True)
    rows = pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()
    assert json.loads(said.stdout.strip().splitlines()[-1]) == rows

    card = published.files["README.md"].decode()
    front = yaml.safe_load(card.split("---")[1])
    assert front["configs"] and front["dataset_info"]["splits"][0]["num_examples"] == len(PROMPTS)
    assert (
        "kto" not in front["tags"]
        and "| `acme/one` | 5 | 5 |" in card
        and 'load_dataset("ann/bread-generations")' in card
    )
    assert "{" not in card.split("---", 2)[2].replace("{{ x }}", "")

    # Again: nothing changes, and a dataset that was made public stays so.
    published.info |= {"private": False, "visibility": "public"}
    commits = len(published.commits)
    done = run(project, "generate.py", "--push", "--base-url", server.url, env=env)
    assert done.returncode == 0 and not published.private and len(server.chats) == 10
    assert len(published.commits) <= commits + 2


def test_an_answer_that_is_missing_holds_nothing_back(
    project: Path, hub: StandinHub, server: ModelServer, tmp_path: Path
) -> None:
    use(project, "project", hub_owner="ann", slug="bread")
    (project / "settings.toml").rename(project / "project.toml")  # as in older projects
    server.fail(PROMPTS[0], model="acme/one", status=400)
    env = hub.env(tmp_path / "hf") | {"HF_HUB_OFFLINE": "0"}
    done = run(project, "generate.py", "--base-url", server.url, "--push", env=env)
    assert done.returncode == 1 and "1 answers are missing" in done.stderr
    assert "| `acme/one` | 5 | 4 |" in hub.repos["datasets/ann/bread-generations"].files["README.md"].decode()


def test_a_push_that_was_interrupted_goes_on(
    project: Path, hub: StandinHub, server: ModelServer, tmp_path: Path
) -> None:
    use(project, "project", hub_owner="ann", slug="bread")
    env = hub.env(tmp_path / "hf") | {"HF_HUB_OFFLINE": "0"}
    fault = hub.fail("/api/datasets/ann/bread-generations/commit/main", status=500)
    done = run(project, "generate.py", "--base-url", server.url, "--push", env=env)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (project / "data" / "generations" / "train.parquet").exists() and len(server.chats) == 10
    fault.times = 0
    assert run(project, "generate.py", "--base-url", server.url, "--push", env=env).returncode == 0
    assert len(server.chats) == 10 and "README.md" in hub.repos["datasets/ann/bread-generations"].files


def test_a_card_that_cannot_go_out_and_one_that_was_edited(
    project: Path, hub: StandinHub, server: ModelServer, tmp_path: Path
) -> None:
    use(project, "project", hub_owner="ann", slug="bread", license="CC BY 4.0")
    env = hub.env(tmp_path / "hf") | {"HF_HUB_OFFLINE": "0"}
    done = run(project, "generate.py", "--base-url", server.url, "--push", env=env)
    assert (done.returncode, hub.repos) == (1, {})
    assert "settings.toml: the Hub does not accept “license: CC BY 4.0”. Perhaps you mean: cc-by-4.0" in done.stderr

    use(project, "project", license="cc-by-4.0")
    assert run(project, "generate.py", "--base-url", server.url, "--push", env=env).returncode == 0
    published = hub.repos["datasets/ann/bread-generations"]
    published.add({"README.md": published.files["README.md"].replace(b"license: cc-by-4.0", b"license: cc0-1.0")})
    done = run(project, "generate.py", "--base-url", server.url, "--push", env=env)
    assert b"license: cc0-1.0" in published.files["README.md"]  # nobody was asked, so it is a pull request
    assert done.returncode == 0 and done.stdout.endswith("/datasets/ann/bread-generations/discussions/1\n")


def test_what_is_missing_is_said_before_anything_is_asked(project: Path, server: ModelServer) -> None:
    use(project, "project", hub_owner="")
    done = run(project, "generate.py", "--base-url", server.url, "--push", env={"HF_TOKEN": "hf_x"})
    assert done.returncode == 1 and "hub_owner" in done.stderr and not server.chats
    use(project, "project", hub_owner="ann")
    done = run(project, "generate.py", "--base-url", server.url, "--push")
    assert done.returncode == 1 and "no token for the Hub" in done.stderr and not server.chats


PUSH_BOTH_AND_LOAD = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from datasets import load_dataset
from kto.ask import publish_generations
from kto.settings import load as load_settings
for path in sys.argv[2:]:
    publish_generations.push(load_settings(), Path(path))
print()
print(load_dataset("ann/bread-generations", split="train").column_names)
"""


def test_a_table_with_a_new_column_follows_one_of_an_earlier_version(
    project: Path, hub: StandinHub, server: ModelServer, tmp_path: Path
) -> None:
    use(project, "project", hub_owner="ann", slug="bread")
    assert run(project, "generate.py", "--base-url", server.url).returncode == 0
    path = project / "data" / "generations" / "train.parquet"
    new = pq.read_table(path)
    pq.write_table(new.drop_columns(["sent"]), tmp_path / "old.parquet")
    command = [sys.executable, "-c", PUSH_BOTH_AND_LOAD, str(project), str(tmp_path / "old.parquet"), str(path)]
    env = environment(hub.env(tmp_path / "hf") | {"HF_HUB_OFFLINE": "0"})
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.stdout.strip().splitlines()[-1:] == [str(new.column_names)], done.stderr
    card = hub.repos["datasets/ann/bread-generations"].files["README.md"].decode()
    features = yaml.safe_load(card.split("---")[1])["dataset_info"]["features"]
    assert [feature["name"] for feature in features] == new.column_names
