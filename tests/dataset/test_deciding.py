"""From votes to rows by rule: third votes, the lead, flags, confidence, and agreement without third votes."""

import json
import re
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rendering import TEMPLATE
from undecided_votes import FREEZE, GARDENS, NO, PAPER, Community, community, id_of, lines, ties
from voting import english
from voting_service import add_records

sys.path.insert(0, str(TEMPLATE))

from kto.dataset.agreement import agreement
from kto.dataset.confidence import estimate

__all__ = ["community", "english"]

WAITING = "Answers that wait for you"


def exported(community: Community, status: int = 0) -> tuple[list[str], str]:
    done = community.local.export()
    assert done.returncode == status, done.stderr
    return done.stdout.splitlines(), done.stderr


def rows(community: Community) -> dict[str, dict[str, Any]]:
    """Return the rows by their answer."""
    return {row["completion"][0]["content"]: row for row in community.local.table("kto/train.parquet")}


def labels(community: Community) -> dict[str, tuple[bool, str]]:
    return {answer: (row["label"], row["label_from"]) for answer, row in rows(community).items()}


def public(community: Community, answer: str) -> list[dict[str, Any]]:
    table = community.local.table("votes/train.parquet")
    return [vote for vote in table if vote["completion"][0]["content"] == answer]


# --- ties -------------------------------------------------------------------------------------------------------------


def test_a_third_vote_decides_a_tie(community: Community) -> None:
    community.all_vote({PAPER: "++", FREEZE: "+-", GARDENS: "--"})
    said, errors = exported(community)
    assert labels(community) == {PAPER: (True, "majority"), GARDENS: (False, "majority")}
    assert "Left out because of a tie: 1" in said and not any(line.startswith("Decided by") for line in said)
    assert errors == "" and not any(WAITING in line for line in said), "somebody else is asked"
    community.vote("cleo", FREEZE, "bad")
    said, _ = exported(community)
    assert labels(community)[FREEZE] == (False, "third_vote")
    row = rows(community)[FREEZE]
    assert (row["n_votes"], row["agreement"], row["confidence"]) == (3, pytest.approx(2 / 3), None)
    assert "Decided by a third vote: 1" in said and "Left out because of a tie: 0" in said


def test_the_lead_decides_what_is_still_tied(community: Community) -> None:
    community.all_vote({PAPER: "++", FREEZE: "+--+", GARDENS: "+-"})
    said, _ = exported(community)
    assert f"{WAITING} (a tie, or somebody says that they should not be published): 1." in "\n".join(said)
    assert said[-1].endswith("uv run vote.py ties")

    shown = ties(community)
    first, second = shown.split("2 of 2")
    assert f"1 of 2 · {id_of(community, FREEZE)[:12]}" in first and "\nFreeze it.\n" in first
    assert "The question: How do I keep bread fresh?" in first and "Votes: 2 👍, 2 👎" in first
    assert "In gardens." in second and "Somebody else will still be asked" in second
    assert "Somebody else" not in first
    command = f"uv run vote.py ties {id_of(community, FREEZE)[:12]} bad"
    assert command in first.splitlines()

    said = ties(community, *command.split()[4:])
    assert said.startswith("Decided: 1. This is in prompts/decisions.jsonl; commit that file.")
    (line,) = lines(community, "decisions.jsonl")
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", line.pop("day"))
    assert line == {"id": id_of(community, FREEZE), "decision": "bad", "who": "lead"}
    said, _ = exported(community)
    assert labels(community) == {PAPER: (True, "majority"), FREEZE: (False, "lead")}
    assert rows(community)[FREEZE]["agreement"] == 0.5 and "Decided by the lead after a tie: 1" in said
    assert not any(WAITING in line for line in said)
    assert ties(community).count(" of ") == 1, "only what waits for a third vote"

    # The lead thinks again; a later vote of somebody does not change what was decided.
    ties(community, id_of(community, FREEZE), "good")
    community.vote("eve", FREEZE, "bad")
    exported(community)
    assert labels(community)[FREEZE] == (True, "lead")
    assert rows(community)[FREEZE]["agreement"] == pytest.approx(0.4)


def test_without_third_votes_the_lead_is_asked_at_once(community: Community) -> None:
    community.local.set(third_vote="false")
    community.all_vote({PAPER: "++", GARDENS: "+-"})
    said, _ = exported(community)
    assert said[-1].endswith("uv run vote.py ties")
    assert "Somebody else" not in ties(community)
    card = (community.local.project / "publish" / "dataset" / "README.md").read_text("utf-8")
    assert "A tie is decided by the lead, or left out." in card and "If the first votes were tied" not in card


def test_the_lead_outvotes_nobody(community: Community) -> None:
    community.all_vote({PAPER: "++", GARDENS: "+-"})
    exported(community)
    for words, sentence in (
        ((id_of(community, PAPER), "bad"), "No answer and no prompt here has the id"),
        ((id_of(community, GARDENS), "keep"), "What can be: good, bad, out."),
        ((id_of(community, GARDENS)[:5], "good"), "No answer and no prompt here has the id"),
    ):
        assert sentence in ties(community, *words, status=1)
    assert "needs a value" in ties(community, "abc", status=2)
    assert "cannot be" in ties(community, "abc", "perhaps", status=2)
    assert lines(community, "decisions.jsonl") == []


@pytest.mark.parametrize(
    "line",
    ["{", '{"id": "12"}', '{"id": "ID", "decision": "good", "who": "ann", "day": "2026-11-30"}', '["good"]'],
)
def test_a_wrong_line_is_named(community: Community, line: str) -> None:
    community.all_vote({PAPER: "++", FREEZE: "--"})
    path = community.local.project / "prompts" / "decisions.jsonl"
    good = json.dumps({"id": id_of(community, PAPER), "decision": "keep", "who": "lead", "day": "2026-11-30"})
    path.write_text(f"{good}\n\n{line.replace('ID', 'a' * 32)}\n", encoding="utf-8")
    done = community.local.export()
    assert (done.returncode, done.stdout) == (1, "") and f"Lines of {path} are wrong." in done.stderr
    assert "\n  - 3: " in done.stderr and done.stderr.count("\n") == 2
    assert not (community.local.data / "kto").exists()


# --- flags ------------------------------------------------------------------------------------------------------------


def test_a_flagged_answer_waits_for_the_lead(community: Community) -> None:
    community.all_vote({PAPER: "++", FREEZE: "--"})
    exported(community)
    community.vote("ben", PAPER, "good", "personal_data", "useful")
    said, _ = exported(community)
    assert labels(community) == {FREEZE: (False, "majority")} and public(community, PAPER) == []
    assert any(line.startswith("Left out until the lead has looked at them") and line.endswith(": 1") for line in said)
    assert said[-1].endswith("uv run vote.py ties") and "Votes: 2" in said
    private = community.local.table("private/votes/train.parquet")
    assert len(private) == 4, "no vote is lost"

    shown = ties(community)
    assert "Somebody says: Contains personal data" in shown and "In paper." in shown
    commands = [line.rpartition(" ")[2] for line in shown.splitlines() if line.startswith("uv run")]
    assert commands == ["keep", "out"]

    ties(community, id_of(community, PAPER), "keep")
    said, _ = exported(community)
    assert labels(community)[PAPER] == (True, "majority") and len(public(community, PAPER)) == 2
    assert not any("until the lead" in line for line in said)
    community.vote("cleo", PAPER, "good", "unpublishable")
    exported(community)
    assert PAPER in labels(community), "the lead has looked at it"


def test_a_flagged_answer_is_taken_out(community: Community) -> None:
    community.all_vote({PAPER: "++", FREEZE: "--"})
    community.vote("ben", PAPER, "bad", "personal_data")
    community.vote("ann", FREEZE, "bad", "unpublishable")
    exported(community, status=1)
    said = ties(community, id_of(community, PAPER), "out")
    assert "prompts/left_out.jsonl" in said and "decisions" not in said
    ties(community, id_of(community, FREEZE), "out")
    found = {line["id"]: (line["who"], line["reason"]) for line in lines(community, "left_out.jsonl")}
    assert found == {
        id_of(community, PAPER): ("lead", "personal_data"),
        id_of(community, FREEZE): ("lead", "decided_by_lead"),
    }
    assert ties(community) == "There is nothing to decide.\n"
    community.all_vote({GARDENS: "--"})
    said, _ = exported(community)
    assert labels(community) == {GARDENS: (False, "majority")} and public(community, PAPER) == []
    assert "Answers and prompts that were taken out for good: 2" in said


def test_a_flagged_tie_is_decided_in_one_step(community: Community) -> None:
    community.all_vote({PAPER: "++", FREEZE: "+-"})
    community.vote("ann", FREEZE, "good", "unpublishable")
    shown = ties(community)
    assert "Votes: 1 👍, 1 👎\nSomebody says: Should not be published\n" in shown
    ties(community, id_of(community, FREEZE)[:8], "good")
    exported(community)
    assert labels(community)[FREEZE] == (True, "lead")


def test_only_flagged_answers(community: Community) -> None:
    community.vote("ann", PAPER, "good", "unpublishable")
    community.vote("ben", PAPER, "good")
    said, errors = exported(community, status=1)
    assert errors == "All answers with votes wait until you have looked at them: 1. The votes are kept. Run: " + (
        "uv run vote.py ties\n"
    )
    assert "Nobody" not in errors and WAITING in said[0]


# --- rules ------------------------------------------------------------------------------------------------------------


def test_unanimous(community: Community) -> None:
    community.local.set(rule='"unanimous"')
    community.all_vote({PAPER: "+-+", FREEZE: "+-"})
    _, errors = exported(community, status=1)
    assert "All answers with enough votes are ties: 1." in errors
    community.vote("cleo", FREEZE, "bad")
    _, errors = exported(community, status=1)
    assert "On no answer with enough votes do all votes agree; answers on which they differ: 2." in errors
    community.all_vote({GARDENS: "---", NO: "+-"})
    said, _ = exported(community)
    assert labels(community) == {GARDENS: (False, "majority")}
    assert "Left out because the votes differ: 2" in said and "Left out because of a tie: 1" in said
    assert ties(community) == "There is nothing to decide.\n", "the lead decides no tie here"
    card = (community.local.project / "publish" / "dataset" / "README.md").read_text("utf-8")
    assert "Only answers on which all votes agree have a row." in card


def test_confidence_says_when_it_cannot_be_estimated(community: Community) -> None:
    community.local.set(rule='"confidence"')
    community.all_vote({PAPER: "++", FREEZE: "--"})
    _, errors = exported(community, status=1)
    assert "needs 3 people with 20 votes each on answers that others have voted on, too" in errors
    assert len(public(community, PAPER)) == 2, "the votes are kept"


@pytest.fixture
def many(community: Community) -> list[tuple[str, str, bool]]:
    """Twenty-four answers with the votes of three people, one of whom is often wrong: (answer, person, vote)."""
    answers = [f"Answer {number}" for number in range(24)]
    with community.local.database() as database:
        add_records(database, {f"Question {number}?": [answer] for number, answer in enumerate(answers)})
    cast = []
    for number, answer in enumerate(answers):
        is_good = number % 2 == 0
        for name in ("ann", "ben") if number % 4 else ("ann", "cleo", "ben"):
            vote = is_good != (name == "cleo" or (name == "ben" and number in (4, 7, 9)))
            community.vote(name, answer, "good" if vote else "bad")
            cast.append((answer, name, vote))
        if number % 4:
            vote = is_good != (number % 3 == 1)
            community.vote("cleo", answer, "good" if vote else "bad")
            cast.append((answer, "cleo", vote))
    return cast


def test_confidence_is_that_of_all_votes(community: Community, many: list[tuple[str, str, bool]]) -> None:
    expected = estimate(many)
    exported(community)
    found = rows(community)
    assert len(found) == 24
    for answer, row in found.items():
        assert row["confidence"] == pytest.approx(expected.confidence(answer, row["label"]), abs=1e-6)
    sure = {answer: row["confidence"] for answer, row in found.items()}
    least = sorted(sure.values())[12] - 1e-6

    community.local.set(rule='"confidence"', min_confidence=f"{max(least, 0.5):.6f}")
    said, _ = exported(community)
    kept = rows(community)
    assert kept.keys() == {answer for answer, value in sure.items() if value >= least}
    assert f"Left out because the label is not sure enough: {24 - len(kept)}" in said
    card = (community.local.project / "publish" / "dataset" / "README.md").read_text("utf-8")
    assert f"less sure than {least:.2f} are left out" in card
    community.local.set(min_confidence="1.0")
    assert "No label is as sure as min_confidence = 1.00" in exported(community, status=1)[1]


# --- agreement --------------------------------------------------------------------------------------------------------


def test_third_votes_do_not_count_for_agreement(community: Community, many: list[tuple[str, str, bool]]) -> None:
    first: dict[str, list[bool]] = {}
    every: dict[str, list[bool]] = {}
    for answer, _, vote in many:
        every.setdefault(answer, []).append(vote)
        first[answer] = every[answer][:2]
    said, _ = exported(community)
    figures = dict(line.split(": ", 1) for line in said if ": " in line)
    alpha, ac1 = (figure.value for figure in agreement(first.values()))
    assert agreement(every.values())[0].value != pytest.approx(alpha, abs=0.01)
    for name, value in (("Krippendorff's α", alpha), ("Gwet's AC1", ac1)):
        shown = figures[f"Agreement ({name})"].replace("−", "-")
        match = re.fullmatch(r"(-?\d\.\d\d) \(95 % interval: (-?\d\.\d\d) to (-?\d\.\d\d)\)", shown)
        assert match, shown
        middle, low, high = map(float, match.groups())
        assert middle == pytest.approx(value, abs=0.005) and low <= middle <= high
    table = community.local.table("votes/train.parquet")
    marked = {answer: [] for answer in every}
    for vote in table:
        marked[vote["completion"][0]["content"]] += [vote["vote"]] if vote["for_agreement"] else []
    assert {answer: sorted(votes) for answer, votes in marked.items()} == {
        answer: sorted(votes) for answer, votes in first.items()
    }
    card = (community.local.project / "publish" / "dataset" / "README.md").read_text("utf-8")
    assert "`for_agreement` in the table of votes says which" in card and "95 % interval" in card

    community.local.set(measured_share="1.0")  # drawn before anybody voted: all of it counts
    exported(community)
    assert all(vote["for_agreement"] for vote in community.local.table("votes/train.parquet"))
    community.local.set(measured_share="0.0", third_vote="false")
    exported(community)
    assert all(vote["for_agreement"] for vote in community.local.table("votes/train.parquet"))


# --- what is said apart from the thumb --------------------------------------------------------------------------------


def test_the_language_has_a_column(community: Community) -> None:
    community.vote("ann", PAPER, "good", "useful", language="natural")
    community.vote("ben", PAPER, "good", language="understandable")
    community.vote("ann", FREEZE, "bad", language="wrong")
    community.vote("ben", FREEZE, "bad")
    said, _ = exported(community)
    for name in ("votes", "private/votes"):
        found = [
            (vote["completion"][0]["content"], vote["language"], vote["aspects"])
            for vote in community.local.table(f"{name}/train.parquet")
        ]
        assert sorted(found, key=str) == sorted(
            [(PAPER, "natural", []), (PAPER, "understandable", []), (FREEZE, "wrong", []), (FREEZE, None, [])], key=str
        )
    shown = re.split(r"\s{2,}", next(line for line in said if line.startswith("acme/one")))
    assert shown == ["acme/one", "4", "50 %", "33 %", "33 %", "33 %"]
    heads = re.split(r"\s{2,}", next(line for line in said if line.lstrip().startswith("Model ")).strip())
    assert heads == ["Model", "Votes", "👍 Good", "Natural", "Understandable", "Wrong"]
    card = (community.local.project / "publish" / "dataset" / "README.md").read_text("utf-8")
    assert "| Model | Votes | 👍 Good | Natural | Understandable | Wrong |\n| --- | ---: |" in card
    assert "| `acme/one` | 4 | 50 % | 33 % | 33 % | 33 % |" in card

    # Ann says something else about the language, and nothing else: what she said before is kept apart.
    community.vote("ann", PAPER, "good", "useful", language="understandable")
    exported(community)
    log = community.local.data / "private" / "votes" / "replaced.jsonl"
    (before,) = map(json.loads, log.read_text("utf-8").splitlines())
    assert (before["language"], before["vote"], before["reasons"]) == ("natural", True, ["useful"])
    exported(community)
    assert log.read_text("utf-8").count("\n") == 1


def test_without_words_about_the_language_there_are_only_thumbs(community: Community) -> None:
    community.all_vote({PAPER: "++", FREEZE: "--"})
    exported(community)
    card = (community.local.project / "publish" / "dataset" / "README.md").read_text("utf-8")
    assert "| Model | Votes | 👍 Good |\n| --- | ---: | ---: |\n| `acme/one` | 4 | 50 % |" in card


def test_an_aspect_of_ones_own(community: Community) -> None:
    with community.local.database() as database:
        ((settings,),) = database.execute("SELECT settings FROM questions WHERE name = 'language'").fetchall()
        database.execute(
            """INSERT INTO questions SELECT ?, 'tone', 'tone', NULL, 0, ?, dataset_id, inserted_at, updated_at
            FROM questions WHERE name = 'vote'""",
            ("2" * 32, settings.replace("natural", "warm")),
        )
    community.all_vote({PAPER: "++", FREEZE: "--"})
    community.vote("ann", PAPER, "good", tone="warm", language="natural")
    exported(community)
    (said,) = [vote for vote in community.local.table("votes/train.parquet") if vote["language"]]
    assert (said["language"], said["aspects"]) == ("natural", ["tone: warm"])


# --- tables of earlier versions ---------------------------------------------------------------------------------------


def test_tables_without_the_new_columns_are_read(community: Community) -> None:
    """As version 0.2.0 wrote them before it asked about the language."""
    community.all_vote({PAPER: "++", FREEZE: "--", GARDENS: "+-"})
    exported(community)
    before = {name: community.local.table(name) for name in ("votes/train.parquet", "kto/train.parquet")}
    for name in ("votes", "private/votes", "kto"):
        path = community.local.data / name / "train.parquet"
        table = pq.read_table(path)
        new = {"language", "aspects", "for_agreement", "confidence", "label_from"}
        pq.write_table(table.select([column for column in table.column_names if column not in new]), path)
    exported(community)
    assert {name: community.local.table(name) for name in before} == before
    assert not (community.local.data / "private" / "votes" / "replaced.jsonl").exists()
    kinds = {field.name: field.type for field in pq.read_schema(community.local.data / "kto" / "train.parquet")}
    assert (kinds["confidence"], kinds["label_from"]) == (pa.float32(), pa.string())


def test_the_order_of_columns_is_that_of_the_card(community: Community) -> None:
    community.all_vote({PAPER: "++", FREEZE: "--"})
    exported(community)
    card = (community.local.project / "publish" / "dataset" / "README.md").read_text("utf-8")
    named = re.findall(r"^- `([a-z_]+)`: ", card, re.MULTILINE)
    assert named == pq.read_schema(community.local.data / "kto" / "train.parquet").names
