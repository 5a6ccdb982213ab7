"""Make `48701f0/` again: python tests/update/earlier/make.py CHECKOUT, where CHECKOUT is a work tree of that commit.

Everything that writes the files is that commit's code: its template, its commands, its Argilla server. Only the models
are a stand-in.
"""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(sys.argv[1]).resolve() / "tests"))

import generating
import yaml
from argilla_server import ArgillaServer
from model_server import ModelServer
from rendering import REPOSITORY, render
from voting import Task

FILES = (
    "project.toml",
    "prompts/own.jsonl",
    "prompts/system_prompt.txt",
    "data/answers.sqlite",
    "data/generations/train.parquet",
    "data/votes/train.parquet",
    "data/votes/replaced.jsonl",
    "data/kto/train.parquet",
    "data/kto/test.parquet",
    "data/private/pseudonym_key",
    "data/private/comments.csv",
    "data/private/annotators.csv",
    "dataset/README.md",
)
STEAM = generating.DUTCH
THOUGHT = "<think>\n{}\n</think>\n\n".format
OTHER_THOUGHT = "[THINK]The user asks about bread. Short answer.[/THINK]"  # which that commit took for the answer
BREAD = "Bewaar brood in een papieren zak of een broodtrommel. Vries in wat je niet binnen twee dagen opeet."
BULBS = (
    "Plant tulpenbollen in oktober of november, 10~15 cm diep en met 3~5 bollen bij elkaar.\n\n- Kies een zonnige plek"
    "\n- Geef na het planten **een beetje** water"
)
HUTSPOT = "Hutspot is een stamppot van aardappelen, wortels en uien, die je met klapstuk of worst eet."
BIKE = "Breng je fiets naar een fietsenmaker; die plakt de band meestal terwijl je wacht, voor ongeveer € 15."
TEA = "Kook water, doe de thee in de pot en laat hem drie minuten trekken. Daarna haal je de zakjes eruit."
ANSWERS = {  # prompt → what acme/one and acme/two answer
    "Hoe houd ik brood vers?": (BREAD, f"{OTHER_THOUGHT}{BREAD} {STEAM}"),
    "Hoe eet ik een stroopwafel?": (STEAM, THOUGHT(" ".join([generating.ENGLISH] * 4)) + STEAM),
    "Wanneer plant ik tulpen?": (BULBS, generating.ENGLISH),
    "Wat is hutspot?": (HUTSPOT, HUTSPOT),
    "Hoe laat ik een band plakken?": (BIKE, ""),
    "Hoe zet ik thee?": (THOUGHT("Tea. Short.") + TEA, STEAM[:140]),
}
PEOPLE = ("amina", "bram", "carmen")


def reply(body: dict) -> tuple[int, dict]:
    """Answer as the table says; the last answer of acme/two was cut."""
    prompt = body["messages"][-1]["content"]
    (asked,) = [each for each in ANSWERS if each in prompt]
    text = ANSWERS[asked][body["model"] == "acme/two"]
    reason = "length" if text == STEAM[:140] else "stop"
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 20, "completion_tokens": len(text.split())}
    return 200, {"model": body["model"], "choices": [{"message": message, "finish_reason": reason}], "usage": usage}


def command(project: Path, *words: str, status: int = 0) -> None:
    done = subprocess.run(
        [sys.executable, *words], cwd=project, env=generating.environment(), capture_output=True, encoding="utf-8"
    )
    assert done.returncode == status, done.stdout + done.stderr


def generate(project: Path) -> None:
    generating.use(project, "generation", models=["acme/one", "acme/two"], prompts="prompts/own.jsonl")
    generating.use(project, "annotation", annotators=list(PEOPLE))
    generating.use(project, "export", test_fraction=0.3, seed=1)
    generating.write_prompts(project, list(ANSWERS))
    (project / "prompts" / "mine.jsonl").rename(project / "prompts" / "own.jsonl")
    with ModelServer() as server:
        server.reply = reply
        command(project, "generate.py", "--base-url", server.url)


def vote(project: Path, server: ArgillaServer) -> None:
    from kto import annotation  # that commit's

    task = Task(project, server.url, server.api_key)
    task.people["owner"] = task._client(server.api_key)
    task.setup()
    annotation.invite(annotation.connect(task.config), task.config)
    passwords = annotation.read_passwords(project / "data" / "private" / "annotators.csv")
    assert set(passwords) == set(PEOPLE)
    records = task.records()
    bread = records["Hoe houd ik brood vers?", BREAD]
    thought = records["Hoe houd ik brood vers?", ANSWERS["Hoe houd ik brood vers?"][1]]
    wafer = records["Hoe eet ik een stroopwafel?", STEAM]
    bulbs = records["Wanneer plant ik tulpen?", BULBS]
    hutspot = records["Wat is hutspot?", HUTSPOT]
    bike = records["Hoe laat ik een band plakken?", BIKE]
    tea = records["Hoe zet ik thee?", STEAM[:140]]
    for name in PEOPLE:
        task.vote(name, bread, "good")
    task.vote(
        "amina", thought, "bad", reasons=["wrong_language"], comment="=Er staat Engels voor, zegt mijn zus Fatma."
    )
    task.vote("bram", thought, "bad", reasons=["clumsy", "wrong_language"])
    task.vote("amina", wafer, "good")
    task.vote("bram", wafer, "bad")  # a tie
    task.vote("carmen", bulbs, "good")
    task.vote("bram", bulbs, "good")
    task.vote("amina", hutspot, "bad", reasons=["not_true"])
    task.vote("bram", hutspot, "good", comment="Zo maakte mijn oma het.")
    task.vote("carmen", tea, "bad", reasons=["off_topic"])
    task.vote("carmen", bike, "good", status="draft")
    command(project, "export.py")
    time.sleep(1)  # so that the changed votes are later, also to the second
    task.vote("bram", hutspot, "bad", reasons=["clumsy"], comment="Zo maakte mijn oma het.")
    task.vote("carmen", bread, "good", status="discarded")
    command(project, "export.py")


def main() -> None:
    out = Path(__file__).parent / "48701f0"
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder), language="nl", inference="openai-compatible", hub_owner="ann")
        texts = yaml.safe_load((REPOSITORY / "languages" / "en.yaml").read_text(encoding="utf-8"))
        import kto.texts

        kto.texts.load = lambda: texts
        generate(project)
        with ArgillaServer(project) as server:
            vote(project, server)
        with closing(sqlite3.connect(project / "data" / "answers.sqlite")) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.rmtree(out, ignore_errors=True)
        for name in FILES:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, out / name)


if __name__ == "__main__":
    main()
