"""Export takes prompt and answer from the table of generations, whatever Argilla's fields hold."""

import pyarrow.parquet as pq
import pytest
from kto.record_ids import text_id
from voting import SYSTEM_PROMPT, Task, argilla, english, table, tables, task

__all__ = ["argilla", "english", "task"]

PROMPT = "Wat doet de tag <b>?"
ANSWER = "Hij maakt tekst **vet**: 3~5 keer, voor 10 $.\n\n- `<b>`"
OTHER = "Geen idee."


def put_fields(task: Task, record: dict, **fields: str) -> None:
    items = [{"external_id": record["external_id"], "fields": fields}]
    url = f"/api/v1/datasets/{task.dataset_id}/records/bulk"
    task.person("owner").put(url, json={"items": items}).raise_for_status()


@pytest.fixture
def voted(task: Task) -> Task:
    """Two answers with two votes each; the fields are as an earlier version of the project has sent them."""
    task.generate({PROMPT: [ANSWER, OTHER]})
    task.setup()
    for answer in (ANSWER, OTHER):
        record = task.records()[PROMPT, answer]
        put_fields(task, record, prompt=PROMPT, answer=answer)
        with task.together():
            for name in ("amina", "piet"):
                task.vote(name, record, "good" if answer == ANSWER else "bad")
    return task


def exported(task: Task) -> dict[str, list[dict]]:
    """Return prompts (as they were sent) by completion, from all rows."""
    rows = [row for path in sorted((task.data / "kto").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return {row["completion"][0]["content"]: row["prompt"] for row in rows}


SENT = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": PROMPT}]


def test_fields_are_put_right_and_votes_stay(voted: Task) -> None:
    before = voted.records()
    voted.setup()
    after = voted.records()
    fields = after[PROMPT, ANSWER]["fields"]
    assert fields["answer"].startswith("<div ") and "<strong>vet</strong>" in fields["answer"]
    assert "<b>" not in fields["prompt"] and "&lt;b&gt;" in fields["prompt"]
    assert after[PROMPT, OTHER]["fields"]["answer"] == OTHER  # nothing to put right
    for key in before:
        assert after[key]["id"] == before[key]["id"] and after[key]["responses"] == before[key]["responses"]
    voted.setup()
    assert voted.records() == after
    assert voted.export().returncode == 0
    assert exported(voted) == {ANSWER: SENT, OTHER: SENT}


def test_a_field_that_somebody_changed_is_not_exported(voted: Task) -> None:
    for key, record in voted.records().items():
        put_fields(voted, record, prompt="Something else?", answer=f"{key[1]} Edited.")
    done = voted.export()
    assert (done.returncode, done.stderr) == (0, "")
    assert exported(voted) == {ANSWER: SENT, OTHER: SENT}


def test_what_is_no_longer_in_the_table_comes_from_the_earlier_votes(voted: Task) -> None:
    assert voted.export().returncode == 0
    records = voted.records()
    voted.generate({"Another?": ["New.", None]})
    for key in ((PROMPT, ANSWER), (PROMPT, OTHER)):
        put_fields(voted, records[key], prompt="Something else?", answer="Edited.")
    voted.vote("wanjiku", records[PROMPT, ANSWER], "good")
    done = voted.export()
    assert (done.returncode, done.stderr) == (0, "")
    assert exported(voted) == {ANSWER: SENT, OTHER: SENT}


def test_what_is_nowhere_is_left_out_and_said(voted: Task) -> None:
    put_fields(voted, voted.records()[PROMPT, ANSWER], prompt="Something else?", answer="Edited.")
    voted.generate({"Another?": ["New.", None]})
    done = voted.export()
    assert done.returncode == 0
    assert exported(voted) == {OTHER: SENT}  # here the field still is the very text
    assert "neither in data/generations nor among the votes exported before: 2." in done.stderr


def test_the_page_takes_the_fields_for_what_they_are(voted: Task) -> None:
    owner = voted.person("owner")
    url = f"/api/v1/datasets/{voted.dataset_id}/fields"
    for field in owner.get(url).json()["items"]:
        settings = {"type": "text", "use_markdown": field["name"] == "prompt"}
        owner.patch(f"/api/v1/fields/{field['id']}", json={"settings": settings}).raise_for_status()
    voted.setup()
    found = {field["name"]: field["settings"]["use_markdown"] for field in owner.get(url).json()["items"]}
    assert found == {"prompt": False, "answer": True}


def test_many_answers_are_read_in_seconds(voted: Task) -> None:
    from kto.dataset import votes

    answers = [[f"Answer {n} of {m}. " * 20 for m in range(4)] for n in range(2500)]
    rows = [
        {"generation_prompt": [SENT] * 4, "generations": each, "raw_generation_responses": each} for each in answers
    ]
    tables.write_rows(voted.data / "generations" / "train.parquet", rows, table.schema())
    wanted = {text_id(PROMPT, "Answer 7 of 3. " * 20), "unknown"}
    found = votes.find_texts(voted.data / "generations" / "train.parquet", wanted)
    assert [text.completion[0]["content"] for text in found.values()] == ["Answer 7 of 3. " * 20]
