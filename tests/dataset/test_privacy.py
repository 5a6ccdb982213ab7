"""What of the votes is public, what stays here, and how a project of an earlier version gets there."""

import csv
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from earlier_project import put_into
from voting import Task, argilla, english, task

__all__ = ["argilla", "english", "task"]

PEOPLE = ["amina", "piet", "wanjiku"]
ANSWERS = {"How do I keep bread fresh?": ["In paper.", "Freeze it."], "Where do tulips grow?": ["In gardens.", "No."]}
COMMENT = "I am Amina from Utrecht"
FULL = ("vote_id", "inserted_at", "updated_at")


@pytest.fixture
def voted(task: Task) -> Task:
    """Three people have voted on four answers, one of them with a comment."""
    task.generate(ANSWERS)
    task.setup()
    with task.together():
        for (_, answer), record in task.records().items():
            for name in PEOPLE:
                extra = {"comment": COMMENT} if name == "amina" else {}
                task.vote(name, record, "good" if answer.startswith("In") else "bad", **extra)
    return task


def change_one(task: Task) -> None:
    """Somebody changes their mind, so that an export has something to put aside."""
    task.vote("amina", next(iter(task.records().values())), "good", reasons=["useful"])


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.org", "-c", "core.autocrlf=false"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def begin_git(task: Task) -> None:
    """Make a repository; the addresses of the server that the tests share are not part of a project."""
    git(task.project, "init", "-q")
    git(task.project, "add", ".")
    git(task.project, "commit", "-qm", "Begin")


def as_earlier(task: Task) -> None:
    """Put the votes of an export where version 48701f0 had them: everything in `data/votes`."""
    private, public = task.data / "private" / "votes", task.data / "votes"
    for name in ("train.parquet", "replaced.jsonl"):
        if (private / name).exists():
            os.replace(private / name, public / name)
    if (private / "comments.csv").exists():
        os.replace(private / "comments.csv", task.data / "private" / "comments.csv")
    if private.exists():
        shutil.rmtree(private)


def read(task: Task, name: str) -> list[dict[str, Any]]:
    """Return the rows of a table, whatever its kind, wherever a version has it; times as text."""
    for folder in (task.data / "private" / "votes", task.data / "votes", task.data / "private"):
        path = folder / name
        if not path.exists():
            continue
        if name.endswith(".parquet"):
            return with_lists(json.loads(json.dumps(pq.read_table(path).to_pylist(), default=str)))
        text = path.read_text(encoding="utf-8")
        if name.endswith(".csv"):
            return list(csv.DictReader(io.StringIO(text)))
        return with_lists([*map(json.loads, text.splitlines())])
    return []


def with_lists(votes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the votes of an earlier version as this one has them: it wrote the models as one text, and less."""
    models = [vote["generation_model"] for vote in votes]
    lists = [names.split(", ") if isinstance(names, str) else names for names in models]
    return [{"open_link": False} | vote | {"generation_model": names} for vote, names in zip(votes, lists, strict=True)]


def everything(task: Task) -> dict[str, Any]:
    """Return all that an export knows of votes."""
    return {name: sorted(map(str, read(task, name))) for name in ("train.parquet", "replaced.jsonl", "comments.csv")}


# --- what goes into git -----------------------------------------------------------------------------------------------


def test_git_takes_nothing_that_tells_who_voted(voted: Task) -> None:
    begin_git(voted)
    assert voted.export().returncode == 0
    change_one(voted)
    assert voted.export().returncode == 0
    assert len(read(voted, "replaced.jsonl")) == 1 and len(read(voted, "comments.csv")) == 3
    votes = read(voted, "train.parquet")
    git(voted.project, "add", ".")
    names = git(voted.project, "diff", "--cached", "--name-only").splitlines()
    shown = [git(voted.project, "diff", "--cached")]
    for name in names:
        if name.endswith(".parquet"):  # to git it is binary
            shown.append(json.dumps(pq.read_table(voted.project / name).to_pylist(), default=str, ensure_ascii=False))
        shown.append((voted.project / name).read_bytes().decode("utf-8", "replace"))
    text = "\n".join(shown)
    assert "data/votes/train.parquet" in names and not [name for name in names if "replaced" in name]
    assert not [vote["vote_id"] for vote in votes if vote["vote_id"] in text], "ids of votes"
    seconds = {vote[name][:19] for vote in votes for name in FULL[1:]}
    assert not [time for time in seconds if time in text or time.replace(" ", "T") in text], "times to the second"
    assert COMMENT not in text, "comments"
    assert not [name for name in PEOPLE if name in text], "user names"
    schema = pq.read_schema(voted.data / "votes" / "train.parquet")
    assert not set(schema.names) & {"vote_id", "comment"}
    assert {schema.field(name).type for name in FULL[1:]} == {pa.date32()}
    public = pq.read_table(voted.data / "votes" / "train.parquet").to_pylist()
    order = [(vote["inserted_at"], vote["record_id"], vote["annotator"]) for vote in public]
    assert len(public) == 12 and order == sorted(order)


# --- a table of an earlier version ------------------------------------------------------------------------------------


@pytest.fixture
def earlier(voted: Task) -> Task:
    """The same, exported by an earlier version, after one vote was changed."""
    assert voted.export().returncode == 0
    change_one(voted)
    assert voted.export().returncode == 0
    as_earlier(voted)
    return voted


def test_a_table_of_an_earlier_version_is_split_once(earlier: Task) -> None:
    before = everything(earlier)
    assert [len(before[name]) for name in before] == [12, 1, 3]
    begin_git(earlier)
    said = []
    for _ in range(2):
        done = earlier.export()
        assert done.returncode == 0, done.stderr
        said.append(done.stderr)
        assert everything(earlier) == before
        assert sorted(path.name for path in (earlier.data / "votes").iterdir()) == ["train.parquet"]
        assert "vote_id" not in pq.read_schema(earlier.data / "votes" / "train.parquet").names
        assert not (earlier.data / "private" / "comments.csv").exists()
    # Whoever has committed it is told how to take it out, once.
    assert "git-filter-repo" in said[0] and "--path data/votes" in said[0] and said[0].count("\n") == 1
    assert said[1] == ""


def test_the_table_that_48701f0_wrote(task: Task) -> None:
    dataset = task.config.annotation.dataset
    put_into(task.project)
    task.set(dataset=json.dumps(dataset))
    before = everything(task)
    assert [len(before[name]) for name in before] == [11, 2, 2]
    begin_git(task)
    task.setup()
    done = task.export()
    assert done.returncode == 0, done.stderr
    assert everything(task) == before
    assert sorted(path.name for path in (task.data / "votes").iterdir()) == ["train.parquet"]
    assert "vote_id" not in pq.read_schema(task.data / "votes" / "train.parquet").names
    assert "git-filter-repo" in done.stderr
    assert "git-filter-repo" not in task.export().stderr


def test_nothing_is_said_of_git_where_it_has_nothing(earlier: Task) -> None:
    git(earlier.project, "init", "-q")
    done = earlier.export()
    assert (done.returncode, done.stderr) == (0, "")


def test_a_lost_argilla_loses_no_vote_of_an_earlier_version(earlier: Task) -> None:
    before = everything(earlier)
    earlier.person("owner").delete(f"/api/v1/datasets/{earlier.dataset_id}").raise_for_status()
    earlier.setup()
    done = earlier.export()
    assert done.returncode == 0 and "not have any more: 12." in done.stderr
    assert everything(earlier) == before


def test_who_is_forgotten_is_gone_from_everything(earlier: Task) -> None:
    (amina,) = {vote["annotator"] for vote in read(earlier, "replaced.jsonl")}
    done = earlier.export("--forget", "amina")
    assert done.returncode == 0, done.stderr
    assert [len(each) for each in everything(earlier).values()] == [8, 0, 0]
    for path in earlier.data.rglob("*"):
        if path.is_file() and path.name != "forgotten.txt":
            assert amina.encode() not in path.read_bytes() and COMMENT.encode() not in path.read_bytes(), path
    public = pq.read_table(earlier.data / "votes" / "train.parquet").to_pylist()
    assert len(public) == 8 and amina not in {vote["annotator"] for vote in public}


# --- killed at any point ----------------------------------------------------------------------------------------------


class Killed(BaseException):
    """What stands for `kill -9`: nothing catches it."""


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Let the process end after so many files of data were replaced or removed; 0: never."""
    left = 0

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(path: Any, *arguments: Any, **keywords: Any) -> Any:
            nonlocal left
            is_data = not str(path).endswith(".tmp") or change is replace
            result = change(path, *arguments, **keywords)
            if left and is_data:
                left -= 1
                if not left:
                    raise Killed
            return result

        return changed

    replace, unlink = os.replace, Path.unlink
    monkeypatch.setattr(os, "replace", counted(replace))
    monkeypatch.setattr(Path, "unlink", counted(unlink))

    def after(changes: int) -> None:
        nonlocal left
        left = changes

    yield after
    left = 0


@pytest.mark.parametrize("was", ["earlier", "new"])
def test_killed_after_any_write_the_next_run_goes_on(
    was: str, earlier: Task, kill_after: Callable[[int], None], tmp_path: Path
) -> None:
    """Since the last export one vote was changed, one was withdrawn, and one was sent again as it was."""
    if was == "new":
        assert earlier.export().returncode == 0
    one, _, three, _ = earlier.records().values()
    earlier.vote("piet", one, "bad" if one["fields"]["answer"].startswith("In") else "good")
    earlier.vote("wanjiku", three, "good", status="discarded")
    change_one(earlier)
    start = Path(shutil.copytree(earlier.data, tmp_path / "start"))
    assert earlier.export().returncode == 0
    expected = everything(earlier)
    public = pq.read_table(earlier.data / "votes" / "train.parquet").to_pylist()
    assert [len(each) for each in expected.values()] == [11, 3, 3]
    for changes in range(1, 30):
        shutil.rmtree(earlier.data)
        shutil.copytree(start, earlier.data)
        kill_after(changes)
        try:
            done = earlier.export()
        except Killed:
            pass
        else:
            break
        finally:
            kill_after(0)
        done = earlier.export()
        assert done.returncode == 0, done.stderr
        assert everything(earlier) == expected, changes
        assert pq.read_table(earlier.data / "votes" / "train.parquet").to_pylist() == public
        assert sorted(path.name for path in (earlier.data / "votes").iterdir()) == ["train.parquet"]
    assert 6 < changes < 29, "it was killed after each write"


# --- a clone ----------------------------------------------------------------------------------------------------------


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("table", "arguments"), [("public", ()), ("whole", ()), ("public", ("--forget", "amina"))])
def test_a_clone_without_the_private_files_changes_nothing(
    earlier: Task, table: str, arguments: tuple[str, ...]
) -> None:
    """A new key would make every person a new one."""
    if table == "public":
        assert earlier.export().returncode == 0
    private = earlier.data / "private"
    os.replace(private, earlier.project.parent / "elsewhere")
    before = tree(earlier.project)
    done = earlier.export(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1 and f"Copy {private} from the machine that exported last" in done.stderr
    assert tree(earlier.project) == before and not private.exists()
    os.replace(earlier.project.parent / "elsewhere", private)  # as it says
    assert earlier.export().returncode == 0
    assert [len(each) for each in everything(earlier).values()] == [12, 1, 3]


@pytest.mark.parametrize("lacking", ["pseudonym_key", "votes"])
def test_half_of_the_private_files_is_not_enough(earlier: Task, lacking: str) -> None:
    assert earlier.export().returncode == 0
    path = earlier.data / "private" / lacking
    path.unlink() if path.is_file() else shutil.rmtree(path, ignore_errors=True)
    before = tree(earlier.project)
    done = earlier.export()
    assert (done.returncode, done.stdout) == (1, "") and "from the machine that exported last" in done.stderr
    assert tree(earlier.project) == before


def test_private_files_that_are_too_old(earlier: Task) -> None:
    """Somebody exported on another machine, committed the table, and Argilla has lost that vote since."""
    assert earlier.export().returncode == 0
    old = Path(shutil.copytree(earlier.data / "private", earlier.project.parent / "old"))
    record = next(iter(earlier.records().values()))
    earlier.vote("late", record, "good")
    assert earlier.export().returncode == 0
    shutil.rmtree(earlier.data / "private")
    shutil.copytree(old, earlier.data / "private")
    assert earlier.export().returncode == 0, "Argilla still knows the vote"
    assert len(read(earlier, "train.parquet")) == 13

    owner = earlier.person("owner")
    (late,) = [user["id"] for user in owner.get("/api/v1/users").json()["items"] if user["username"] == "late"]
    owner.delete(f"/api/v1/users/{late}").raise_for_status()
    shutil.rmtree(earlier.data / "private")
    shutil.copytree(old, earlier.data / "private")
    before = tree(earlier.project)
    done = earlier.export()
    assert (done.returncode, done.stdout) == (1, "") and "from the machine that exported last" in done.stderr
    assert tree(earlier.project) == before
