"""Start a project's programs quickly: as forks of a process that has imported the large packages already.

The tests start hundreds of programs, and to import distilabel takes two seconds of each. What runs is the same: the
program's own file, its own modules, its own arguments, environment, pipes and signals. Only what other people's
packages read while they are imported must be equal, see `_AT_IMPORT`; otherwise, and where nothing can be forked, it is
an ordinary process.
"""

import atexit
import contextlib
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

_PACKAGES = ("distilabel.pipeline", "distilabel.steps.tasks", "argilla", "datasets", "pyarrow.parquet", "aiohttp")
_AT_IMPORT = ("HF_", "PYTHON", "LC_", "LANG", "HOME", "XDG_", "OPENBLAS_", "OMP_", "TRANSFORMERS_", "RAY_", "ARGILLA_")
_LATER = {"HF_TOKEN", "ARGILLA_API_URL", "ARGILLA_API_KEY"}  # read whenever they are needed

_nursery: socket.socket | None = None
_one_at_a_time = threading.Lock()  # tests start programs from several threads


def start(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> "subprocess.Popen[str] | Forked":
    """Start a script, `-m module` or `-c code`, with the words that follow the interpreter's, and nothing to read.

    Returns
    -------
    What `subprocess.Popen` returns, or as much of it as the tests use; stdout and stderr are pipes.
    """
    global _nursery
    if hasattr(os, "fork"):
        usual = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        usual |= {"HF_HUB_OFFLINE": "1", "HF_TOKEN_PATH": os.devnull, "PYTHONDONTWRITEBYTECODE": "1"}
        if _at_import(env) == _at_import(usual):
            with _one_at_a_time:
                _nursery = _nursery or _start_nursery(usual)
                return Forked(_nursery, command, cwd, env)
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *command], cwd=cwd, env=env, encoding="utf-8", **pipes)


def _at_import(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_AT_IMPORT) and name not in _LATER}


def _start_nursery(env: dict[str, str]) -> socket.socket:
    ours, theirs = socket.socketpair()
    with theirs:
        # It ends when our end of the socket is closed, which happens also if we are killed.
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env=env,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours


class Forked:
    """A program in a process that was forked for it; used like `subprocess.Popen`."""

    def __init__(self, nursery: socket.socket, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.args = [sys.executable, *command]
        self.returncode: int | None = None
        out, err, status = os.pipe(), os.pipe(), os.pipe()
        order = json.dumps([list(command), str(cwd), dict(env)]).encode()
        nursery.sendall(len(order).to_bytes(4, "big"))
        socket.send_fds(nursery, [order[:1]], [out[1], err[1], status[1]])
        nursery.sendall(order[1:])
        for pipe in (out, err, status):
            os.close(pipe[1])
        self.stdout, self.stderr = os.fdopen(out[0], encoding="utf-8"), os.fdopen(err[0], encoding="utf-8")
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


def _nurse(orders: socket.socket) -> None:
    """Import the packages, then fork for every order until there are no more."""
    with warnings.catch_warnings(action="ignore"):
        for package in _PACKAGES:
            __import__(package)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who wait for the programs
    while length := orders.recv(4, socket.MSG_WAITALL):
        first, files, _, _ = socket.recv_fds(orders, 1, 3)
        command, cwd, env = json.loads(first + orders.recv(int.from_bytes(length, "big") - 1, socket.MSG_WAITALL))
        if os.fork() == 0:
            orders.close()
            os._exit(_wait_for_program(command, cwd, env, *files))
        for file in files:
            os.close(file)


def _wait_for_program(command: list[str], cwd: str, env: dict[str, str], out: int, err: int, status: int) -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(status)
        for number, file in ((1, out), (2, err)):
            os.dup2(file, number)
            os.close(file)
        out_, err_ = sys.stdout, sys.stderr  # which know what kind of file was there before
        sys.stdout = os.fdopen(1, "w", encoding=out_.encoding, errors=out_.errors, closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, encoding=err_.encoding, errors=err_.errors, closefd=False)
        os._exit(_run(command, cwd, env))
    os.close(out)
    os.close(err)
    os.write(status, b"%d\n" % pid)
    os.write(status, b"%d\n" % os.waitpid(pid, 0)[1])
    return 0


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
        _nurse(orders)
