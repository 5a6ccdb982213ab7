"""A model without a system role: what people vote on, and the rows that come of it, are like those of the others."""

from generating import run, use, write_prompts
from model_server import ModelServer
from voting import Task, argilla, english, task

__all__ = ["argilla", "english", "task"]

SYSTEM = "Answer kindly."
PROMPTS = ["Why is the sky blue?", "What is a system role?"]


def test_a_row_keeps_the_system_prompt_and_the_prompt_apart(task: Task) -> None:
    use(task.project, "generation", inference="openai-compatible", models=["acme/none", "acme/some"])
    use(task.project, "generation", prompts="prompts/mine.jsonl")
    write_prompts(task.project, PROMPTS)
    (task.project / "prompts" / "system_prompt.txt").write_text(SYSTEM, encoding="utf-8")
    with ModelServer() as server:

        def reply(body: dict) -> object:
            if body["model"] == "acme/none" and body["messages"][0]["role"] == "system":
                return 400, {"object": "error", "message": "System role not supported", "code": 400}
            return f"{body['model']} to {body['messages'][-1]['content']}"

        server.reply = reply
        run(task.project, "generate.py", "--base-url", server.url)
    task.setup()
    records = task.records()
    assert len(records) == 4
    with task.together():
        for (prompt, answer), record in records.items():
            merged = "acme/none" in answer
            assert prompt in PROMPTS and answer.endswith(f"{SYSTEM}\n\n{prompt}" if merged else f"to {prompt}")
            for name in ("amina", "piet"):
                task.vote(name, record, "bad" if merged else "good")
    assert task.export().returncode == 0
    rows = [row for path in sorted(task.data.glob("kto/*.parquet")) for row in task.table(f"kto/{path.name}")]
    assert len(rows) == 4
    for row in rows:
        system, prompt = row["prompt"]
        assert system == {"role": "system", "content": SYSTEM} and prompt["role"] == "user"
        assert prompt["content"] in PROMPTS and row["label"] == (row["generation_model"] == ["acme/some"])
