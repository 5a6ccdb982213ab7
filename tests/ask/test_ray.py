"""Step 1 on a real Ray cluster: two nodes on this machine, which die as the tests want."""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import pyarrow.parquet as pq
import pytest
from generating import environment, run, start, use, write_prompts
from kto.ask import ray_cluster
from kto.errors import UserError
from model_server import ModelServer

pytest_plugins = ["generating_fixtures"]

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the processes are looked up in /proc"),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]

MARK = "KTO_TEST_CLUSTER"
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_prestart_worker_first_driver": "0"}


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def processes(mark: str) -> dict[int, str]:
    """Return what runs with this in its environment: number and command."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            marked = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
            if marked and "\nState:\tZ" not in (folder / "status").read_text():
                found[int(folder.name)] = (folder / "cmdline").read_text()
    return found


def kill(mark: str) -> None:
    """Kill all processes with this in their environment, and those that they are just starting."""
    while found := processes(mark):
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


class Cluster:
    """Two nodes; this machine's programs belong to the first. Their files are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, uuid.uuid4().hex
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"

    def __enter__(self) -> Self:
        try:
            port = self.address.partition(":")[2]
            self._start("first", "--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self.folder}")
            self._start("second", f"--address={self.address}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        kill(self.name)

    def kill_second(self) -> None:
        kill(f"{self.name}-second")

    def workers(self) -> list[str]:
        """Return what runs there for programs that belong to the cluster."""
        return [command for command in processes(self.name).values() if command.startswith("ray::_")]

    def _start(self, node: str, *options: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=2", *options]
        command += ["--object-store-memory=100000000", "--disable-usage-stats"]
        env = environment() | QUIET | {MARK: f"{self.name}-{node}"}
        done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8", timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder,  # sockets: short
        Cluster(Path(folder)) as cluster,
    ):
        yield cluster


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer(latency=0.05) as server:
        yield server


def address(server: ModelServer) -> str:
    """Return an address that does not look like loopback, because that is asked from this node only."""
    name = socket.gethostname()
    with contextlib.suppress(OSError):
        if socket.gethostbyname(name).startswith("127."):
            return server.url.replace("127.0.0.1", name)
    return server.url.replace("127.0.0.1", "[::ffff:127.0.0.1]")


def table(project: Path) -> list[dict]:
    return pq.read_table(project / "data" / "generations" / "train.parquet").to_pylist()


def log(project: Path) -> str:
    return "\n".join(path.read_text() for path in sorted((project / "data" / "logs").glob("ray*.log")))


def test_the_same_table_as_without_ray(project: Path, cluster: Cluster, server: ModelServer, tmp_path: Path) -> None:
    use(project, "generation", base_url=address(server))
    server.key = "sesame"
    server.fail("How are you?", model="acme/two", status=400, body='{"error": {"message": "No."}}')
    answer, refused = server.reply, []

    def reply(body: dict) -> object:
        if body["model"] == "acme/two" and body["messages"][0]["role"] == "system":
            refused.append(body)
            return 400, {"error": {"message": "System role not supported"}}
        return answer(body)

    server.reply = reply
    (project / ".env").write_text("OPENAI_API_KEY=sesame\n", encoding="utf-8")
    # One of the models is to find its answer there.
    assert run(project, "generate.py", "--yes", "--limit", "1").returncode == 1
    done = run(project, "generate.py", "--yes", "--ray", env=QUIET | {"RAY_ADDRESS": cluster.address})
    assert done.returncode == 1 and "answered 400" in done.stdout, done.stdout + done.stderr + log(project)
    # Nothing twice, but for what had failed, and what was on its way when the server first said that it has no roles.
    assert len(server.chats) - len(refused) == 11 and 0 < len(refused) <= 4
    assert done.stdout.count("acme/two has no system role") == 1
    rows = table(project)
    assert all("messages" in row["sent"][1] and "messages" not in row["sent"][0] for row in rows[1:])
    (project / "data").rename(tmp_path / "data of Ray")
    assert run(project, "generate.py", "--yes").returncode == 1
    changing = {"seconds", "received_at"}
    assert [{name: row[name] for name in row.keys() - changing} for row in rows] == [
        {name: row[name] for name in row.keys() - changing} for row in table(project)
    ]
    files = [path for path in cluster.folder.rglob("*") if path.is_file()]
    assert any(path.name == "ray_cluster.py" for path in files) and not any(path.name == ".env" for path in files)
    assert not [path for path in files if b"sesame" in path.read_bytes()]  # the key is in no log of Ray's


def test_an_address_where_nothing_is(project: Path, server: ModelServer) -> None:
    use(project, "generation", base_url=server.url)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        closed = f"127.0.0.1:{nobody.getsockname()[1]}"
        for wrong in (closed, "ray://127.0.0.1:10001", "nonsense", "127.0.0.1:99999999"):
            begun = time.monotonic()
            done = run(project, "generate.py", "--ray", wrong, env=QUIET)
            assert done.returncode == 1 and wrong in done.stderr and len(done.stderr.splitlines()) == 1
            assert time.monotonic() - begun < 30
    assert not server.chats


IN_FLIGHT = 2 * 8
PROMPTS = [f"What is {number} + {number}?" for number in range(200)]


@pytest.fixture
def large(project: Path, server: ModelServer) -> Path:
    """A project whose two models take some seconds."""
    server.latency = 0.2
    use(project, "generation", base_url=address(server), concurrency=IN_FLIGHT // 2)
    write_prompts(project, PROMPTS)
    return project


def check_all_there(project: Path, server: ModelServer) -> None:
    """Every answer is in the table, and no more was asked twice than was under way once."""
    rows = table(project)
    assert [row["input"] for row in rows] == PROMPTS
    for row in rows:
        expected = [f"{model} answers: {row['input']}" for model in ("acme/one", "acme/two")]
        assert row["raw_generation_responses"] == expected
    asked = Counter((chat.model, chat.prompt) for chat in server.chats)
    assert (
        len(asked) == 2 * len(PROMPTS) and asked.total() - len(asked) <= 2 * IN_FLIGHT
    )  # in flight, and on their way here


def test_a_cluster_that_dies_is_a_sentence(large: Path, cluster: Cluster, server: ModelServer, tmp_path: Path) -> None:
    """Every machine that gets the rows dies."""
    with (large / "kto" / "ask" / "ray_cluster.py").open("a", encoding="utf-8") as code:
        code.write("\n\nif 'RAY_JOB_ID' in os.environ:\n    ModelRunner.answer = lambda *_: os._exit(1)\n")
    done = run(large, "generate.py", "--ray", cluster.address, env=QUIET)
    assert done.returncode == 1 and "The run on Ray has ended although answers are missing" in done.stderr
    assert not server.chats


def test_it_takes_no_limit_to_the_cost(large: Path, cluster: Cluster, server: ModelServer) -> None:
    """Requests on other machines cannot be counted before they are sent."""
    done = run(large, "generate.py", "--ray", cluster.address, "--max-cost", "1", env=QUIET)
    assert done.returncode == 1 and "--max-cost does not work together with --ray" in done.stderr
    assert not server.chats


def test_generate_is_killed(large: Path, cluster: Cluster, server: ModelServer) -> None:
    with start(large, "generate.py", "--ray", cluster.address, env=QUIET) as process:
        until(lambda: len(server.chats) > len(PROMPTS) // 2 or process.poll() is not None)
        process.kill()
        killed = time.monotonic()
        process.communicate()
    until(lambda: server.in_flight == 0)  # nobody waits for an answer any more
    until(lambda: not cluster.workers())
    assert server.chats[-1].at - killed < 5
    before = len(server.chats)
    assert before < 2 * len(PROMPTS) - IN_FLIGHT
    assert run(large, "generate.py").returncode == 0
    assert len(server.chats) > before
    check_all_there(large, server)


def test_a_node_that_dies_half_way(large: Path, cluster: Cluster, server: ModelServer) -> None:
    """The last test with this cluster, which has one node from then on."""
    with start(large, "generate.py", "--ray", cluster.address, env=QUIET) as process:
        try:
            until(lambda: len(server.chats) > len(PROMPTS) // 2 or process.poll() is not None)
            cluster.kill_second()
            out, err = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, err) == (0, ""), out + log(large)
    assert out.count("The other nodes take over") == 1 and "Error" in log(large)
    check_all_there(large, server)


@pytest.mark.usefixtures("english")
def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError) as error, ray_cluster.joined("auto", Path("ray.log")):
        pass
    assert "Ray is not installed here" in str(error.value)
