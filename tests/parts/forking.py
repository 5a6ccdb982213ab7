"""Start a project's programs quickly: as forks of a process that has imported the large packages already.

The tests start hundreds of programs, and to import distilabel takes two seconds of each. What runs is the same: the
program's own file, its own modules, its own arguments, environment, pipes and signals. Only what other people's
packages read while they are imported must be equal, see `_AT_IMPORT`: there is a process to fork from for the usual
environment and for the one that was wanted repeatedly of late (that of a module's Hub, whose caches are at a place that
stays the same and leads to those of each test). Otherwise, and where nothing can be forked, it is an ordinary process.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO

_PACKAGES = ("distilabel.pipeline", "distilabel.steps.tasks", "argilla", "datasets", "pyarrow.parquet", "aiohttp")
_AT_IMPORT = ("HF_", "PYTHON", "LC_", "LANG", "HOME", "XDG_", "OPENBLAS_", "OMP_", "TRANSFORMERS_", "RAY_", "ARGILLA_")
_LATER = {"HF_TOKEN", "ARGILLA_API_URL", "ARGILLA_API_KEY"}  # read whenever they are needed
_LATER |= {"RAY_ADDRESS", "RAY_USAGE_STATS_ENABLED", "RAY_prestart_worker_first_driver"}  # or when Ray is imported
_CACHES = ("HF_HOME", "HF_DATASETS_CACHE")

_one_at_a_time = threading.Lock()  # tests start programs from several threads


def start(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> "subprocess.Popen[str] | Forked":
    """Start a script, `-m module` or `-c code`, with the words that follow the interpreter's, and nothing to read.

    Returns
    -------
    What `subprocess.Popen` returns, or as much of it as the tests use; stdout and stderr are pipes.
    """
    if hasattr(os, "fork"):
        with _one_at_a_time:
            if nursery := _nursery_for(env):
                return nursery.start(command, cwd, env)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *command], cwd=cwd, env=env, encoding="utf-8", **pipes)


class Nursery:
    """A process that is forked for each program.

    Parameters
    ----------
    env
        Its environment, which the packages see when they are imported. `HF_HOME` may be any: programs see one that
        stays the same and leads to theirs.
    packages
        What it imports.
    python
        Interpreter.
    """

    def __init__(
        self, env: Mapping[str, str], packages: Sequence[str] = _PACKAGES, python: str = sys.executable
    ) -> None:
        self._home: Path | None = None
        if "HF_HOME" in env:
            self._home = Path(tempfile.mkdtemp(prefix="kto-home-")) / "home"
            self._lead_to(env["HF_HOME"])
        self._running: list[Forked] = []
        self._orders, theirs = socket.socketpair()
        self.path = Path(tempfile.mkdtemp(prefix="kto-nursery-")) / "orders"
        """A socket for `forked.py`."""
        with theirs:
            # It ends when our end of the socket is closed, which happens also if we are killed.
            self._process = subprocess.Popen(
                [python, __file__, str(theirs.fileno()), str(self.path), *packages],
                env=self._moved(env),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        atexit.register(self.close)

    def _lead_to(self, home: str) -> None:
        assert self._home
        self._home.unlink(missing_ok=True)
        self._home.symlink_to(home)

    def _moved(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the environment with its caches where they seem to be."""
        if self._home is None:
            return dict(env)
        home = env["HF_HOME"]
        return {
            name: f"{self._home}{value.removeprefix(home)}" if name in _CACHES and value.startswith(home) else value
            for name, value in env.items()
        }

    def has_room(self, env: Mapping[str, str]) -> bool:
        """Tell whether no program runs that has its caches elsewhere."""
        self._running = [program for program in self._running if program.poll() is None]
        return self._home is None or not self._running or str(self._home.readlink()) == env["HF_HOME"]

    def start(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], log: IO[bytes] | None = None
    ) -> "Forked":
        """Start a program; with `log` it leads a session of its own, and that is where it writes."""
        if self._home:
            Path(env["HF_HOME"]).mkdir(parents=True, exist_ok=True)
            self._lead_to(env["HF_HOME"])
        self._running.append(Forked(self._orders, command, cwd, self._moved(env), log))
        return self._running[-1]

    def close(self) -> None:
        atexit.unregister(self.close)
        self._orders.close()
        self._process.wait()


_usual: Nursery | None = None
_other: Nursery | None = None
_other_key: dict[str, str] | None = None


def _nursery_for(env: Mapping[str, str]) -> Nursery | None:
    """Return what a program with this environment may be forked from."""
    global _usual, _other, _other_key
    usual = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    usual |= {"HF_HUB_OFFLINE": "1", "HF_TOKEN_PATH": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
    key = at_import(env)
    if key == at_import(usual):
        _usual = _usual or Nursery(usual)
        return _usual
    if key == _other_key:  # not the first time
        _other = _other or Nursery(env)
        return _other if _other.has_room(env) else None
    if _other:
        _other.close()
    _other, _other_key = None, key
    return None


def at_import(env: Mapping[str, str], without: Collection[str] = ()) -> dict[str, str]:
    """Return what packages may read while they are imported, but for variables whose names begin `without` them."""
    home = env.get("HF_HOME")
    return {
        name: value.replace(home, "HOME") if home and name in _CACHES else value
        for name, value in env.items()
        if name.startswith(_AT_IMPORT) and name not in _LATER and not name.startswith(tuple(without))
    }


class Forked:
    """A program in a process that was forked for it; used like `subprocess.Popen`."""

    def __init__(
        self,
        orders: socket.socket,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        log: IO[bytes] | None = None,
    ) -> None:
        self.args = [sys.executable, *command]
        self.returncode: int | None = None
        status = os.pipe()
        pipes = [] if log else [os.pipe(), os.pipe()]
        nothing = os.open(os.devnull, os.O_RDONLY)
        theirs = [nothing, *([log.fileno()] * 2 if log else [pipe[1] for pipe in pipes])]
        order = json.dumps([list(command), str(cwd), dict(env), log is not None]).encode()
        orders.sendall(len(order).to_bytes(4, "big"))
        socket.send_fds(orders, [order[:1]], [*theirs, status[1]])
        orders.sendall(order[1:])
        for file in (nothing, *(pipe[1] for pipe in (*pipes, status))):
            os.close(file)
        if pipes:
            self.stdout, self.stderr = (os.fdopen(pipe[0], encoding="utf-8") for pipe in pipes)
        self._status = os.fdopen(status[0], "rb")
        self.pid = int(self._status.readline())
        self._texts = ["", ""]
        self._ended = threading.Event()
        threading.Thread(target=self._wait, daemon=True).start()

    def _wait(self) -> None:
        with self._status:
            self.returncode = os.waitstatus_to_exitcode(int(self._status.readline()))
        self._ended.set()

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        def read(number: int) -> None:
            with (self.stdout, self.stderr)[number] as stream:
                self._texts[number] = stream.read()

        threads = [threading.Thread(target=read, args=(number,), daemon=True) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout)
            if thread.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
        self.wait(timeout)
        return self._texts[0], self._texts[1]

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()


# --- in the process that is forked


def _nurse(orders: socket.socket, path: str, packages: Sequence[str]) -> None:
    """Import the packages, then fork for every order until there are no more, and for those that come to `path`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    with warnings.catch_warnings(action="ignore"):
        for package in packages:
            __import__(package)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, _bury)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the tests, which end the programs
    both = selectors.DefaultSelector()
    both.register(orders, selectors.EVENT_READ)
    both.register(listener, selectors.EVENT_READ)
    while True:
        for key, _ in both.select():
            source = listener.accept()[0] if key.fileobj is listener else orders
            length = source.recv(4, socket.MSG_WAITALL)
            if not length:
                return
            first, files, _, _ = socket.recv_fds(source, 1, 5)
            order = json.loads(first + source.recv(int.from_bytes(length, "big") - 1, socket.MSG_WAITALL))
            if source is not orders:
                source.close()
            if os.fork() == 0:
                orders.close()
                listener.close()
                both.close()
                os._exit(_wait_for_program(*order, *files))
            for file in files:
                os.close(file)


def _bury(*_: object) -> None:
    """Take note of those that waited for a program and ended: then its processor time counts in that of the tests."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _wait_for_program(
    command: list[str],
    cwd: str,
    env: dict[str, str],
    session: bool,
    nothing: int,
    out: int,
    err: int,
    status: int,
    leash: int | None = None,
) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        if leash is not None:
            os.close(leash)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if session:
            os.setsid()
        for number, file in ((0, nothing), (1, out), (2, err)):
            os.dup2(file, number)
            os.close(file)
        out_, err_ = sys.stdout, sys.stderr  # which know what kind of file was there before
        sys.stdout = os.fdopen(1, "w", encoding=out_.encoding, errors=out_.errors, closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, encoding=err_.encoding, errors=err_.errors, closefd=False)
        os._exit(_run(command, cwd, env))
    for file in (nothing, out, err):
        os.close(file)
    if leash is not None:
        threading.Thread(target=_kill_with, args=(leash, pid), daemon=True).start()
    os.write(status, b"%d\n" % pid)
    os.write(status, b"%d\n" % os.waitpid(pid, 0)[1])
    return 0


def _kill_with(leash: int, pid: int) -> None:
    """Kill a program when the process is gone that holds the other end."""
    os.read(leash, 1)
    os.kill(pid, signal.SIGKILL)


def _run(command: list[str], cwd: str, env: dict[str, str]) -> int:
    """Be the interpreter that was started with this command."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    code: object = None
    try:
        if command[0] == "-m":
            sys.argv, sys.path[0] = command[1:], cwd
            runpy.run_module(command[1], run_name="__main__", alter_sys=True)
        elif command[0] == "-c":
            sys.argv, sys.path[0] = ["-c", *command[2:]], ""
            exec(compile(command[1], "<string>", "exec"), vars(sys.modules["__main__"]))
        else:
            sys.argv, sys.path[0] = command, str(Path(command[0]).resolve().parent)
            runpy.run_path(command[0], run_name="__main__")
    except SystemExit as exit_:
        code = exit_.code
    except BaseException as error:
        traceback.print_exc()
        code = 1
        if isinstance(error, KeyboardInterrupt):
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    try:
        threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter waits for threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return 120
    return int(code or 0) & 0xFF


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt), socket.socket(fileno=int(sys.argv[1])) as orders:
        _nurse(orders, sys.argv[2], sys.argv[3:])
