"""Render a project or run the tests with nothing but Python and pip: `python3 start.py`, `python3 start.py test`.

`python3 start.py test --quick` leaves out the tests that start servers and browsers.
`python3 start.py language TAG` begins the catalogue of a language, or lists what is left to do.
`python3 start.py update PATH [--dry-run]` updates a project to the code of this template.

Everything is installed into `.tools/` next to this file, so it also works with an externally managed Python (PEP 668)
and changes nothing else. With cookiecutter installed, `cookiecutter PATH-TO-THIS-FOLDER` does the same as the first
command.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
TOOLS = HERE / ".tools"
SCRIPTS = "Scripts" if os.name == "nt" else "bin"
REQUIREMENTS: dict[str, list[str | Path]] = {
    "render": ["-r", HERE / "requirements.txt"],
    "test": ["-r", HERE / "tests" / "requirements.txt", "-c", HERE / "tests" / "constraints.txt"],
}


def environment(name: str) -> Path:
    """Return the folder with the commands of an environment; install it if its requirements have changed."""
    folder = TOOLS / name
    files = [item for item in REQUIREMENTS[name] if isinstance(item, Path)]
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in files) + sys.version.encode()).hexdigest()
    stamp = folder / "installed"
    if not stamp.is_file() or stamp.read_text(encoding="ascii") != wanted:
        print(f"Installing into {folder} ...", flush=True)
        # Debian's venv lacks ensurepip, so the running Python's pip installs into the new environment.
        venv.create(folder, clear=True, with_pip=False, symlinks=os.name != "nt")
        python = folder / SCRIPTS / Path("python.exe" if os.name == "nt" else "python")
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "pip",
            "--python",
            python,
            "install",
            "--quiet",
            "--no-compile",
            *REQUIREMENTS[name],
        ]
        if subprocess.run(command).returncode:
            sys.exit("The installation failed; see pip's message above. Correct that and run this command again.")
        # pip would compile on one core; files that cannot be compiled are not imported.
        subprocess.run([python, "-m", "compileall", "-qq", "-j", "0", folder])
        stamp.write_text(wanted, encoding="ascii")
    return folder / SCRIPTS


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    if sys.version_info < (3, 11):  # noqa: UP036 - this is for older versions
        sys.exit(f"This is Python {sys.version.split()[0]}. Use Python 3.11 or newer.")
    testing = arguments[:1] == ["test"]
    scripts = environment("test" if testing else "render")
    # The commands find each other and the interpreter of their environment first.
    environ = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}", "PYTHONUTF8": "1"}
    python = str(scripts / "python")
    if testing:
        # Files run in parallel, in their order; tests wait for servers as often as they compute.
        processes = str(min(os.cpu_count() or 1, 4))
        whole = arguments[1:] in ([], ["--quick"])
        options = [
            *(["-n", processes, "--dist", "loadfile", "--no-loadscope-reorder"] if whole else []),
            *arguments[1:],
        ]
        return subprocess.run([python, "-m", "pytest", *options], cwd=HERE, env=environ).returncode
    if arguments[:1] in (["language"], ["update"]):
        tool = str(HERE / "tools" / f"{arguments[0]}.py")
        return subprocess.run([python, "-B", tool, *arguments[1:]], env=environ).returncode
    called = [Path(sys.executable).name, str(HERE / "start.py")]
    environ["KTO_COMMAND"] = subprocess.list2cmdline(called) if os.name == "nt" else shlex.join(called)
    if Path.cwd() == HERE and not {"-o", "--output-dir", "--help", "--version"} & set(arguments):
        arguments = [*arguments, "--output-dir", str(HERE.parent)]  # next to this repository, not in it
        print(f"Your project will be made in {HERE.parent}\n", flush=True)
    status = subprocess.run(
        [python, "-B", str(HERE / "tools" / "render.py"), str(HERE), *arguments], env=environ
    ).returncode
    if not status and shutil.which("uv") is None:
        print(f"\nuv is not installed yet. Until it is, you can call it as\n    {scripts / 'uv'}")
    return status


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
