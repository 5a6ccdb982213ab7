"""Votes by links in an export: which are marked, which are left out, who is named, and what is kept of the consent."""

import contextlib
import csv
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from argilla_server import ArgillaServer
from earlier_project import put_argilla, put_into
from local_voting import ANSWERS, LocalVoting, local, refusal, refused_entry
from rendering import TEMPLATE, render
from vote_command import Vote
from voting import english
from voting_service import Device, VotingService

sys.path.insert(0, str(TEMPLATE))

from kto.dataset.publish import as_name
from kto.dataset.votes import pseudonym

__all__ = ["english", "local"]

CARD = Path("publish") / "dataset" / "README.md"


class Community:
    """Ann with a link of her own and two guests have voted on all four answers."""

    def __init__(self, local: LocalVoting, service: VotingService) -> None:
        self.local, self.service = local, service
        self.open_link = local.link("--open")
        self.ann = service.device(link=local.link("ann"))
        self.guests = [Device(service.url).enter(self.open_link, "fedcba9876543210") for _ in range(2)]
        for device, vote in ((self.ann, "good"), (self.guests[0], "good"), (self.guests[1], "bad")):
            for card in device.cards():
                device.vote(card["record"], vote)

    def close(self) -> None:
        for device in (self.ann, *self.guests):
            device.close()

    def name(self, device: Device) -> str:
        ((name,),) = self.local.rows("SELECT username FROM users WHERE id = ?", device.person)
        return name

    def pseudonym(self, device: Device) -> str:
        key = bytes.fromhex((self.local.data / "private" / "pseudonym_key").read_text("utf-8"))
        return pseudonym(key, self.name(device))


@pytest.fixture
def community(local: LocalVoting) -> Iterator[Community]:
    local.set(min_votes="1")
    with local.service as service:
        community = Community(local, service)
        yield community
        community.close()


def exported(local: LocalVoting, *words: str) -> list[str]:
    """Export with the real command, which finds nothing wrong but that all labels are the same; return what it says."""
    done = local.export_command(*words)
    assert done.returncode == 0 and "same label" in (done.stderr or "same label"), done.stderr
    assert done.stderr.count("\n") <= 1, done.stderr
    return done.stdout.splitlines()


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def people(local: LocalVoting) -> list[dict[str, str]]:
    with (local.data / "private" / "votes" / "people.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def card(local: LocalVoting) -> str:
    return (local.project / CARD).read_text(encoding="utf-8")


def everything(local: LocalVoting) -> dict[str, bytes]:
    """Return what an export has written, the card included."""
    return {name: data for name, data in tree(local.data).items() if "links" not in name} | {"": card(local).encode()}


def test_votes_by_an_open_link_are_marked(community: Community) -> None:
    local = community.local
    said = exported(local)
    assert "Votes: 12" in said and "Votes that came by an open link: 8 (67 %)" in said and "People who voted: 3" in said
    for name in ("votes", "private/votes"):
        rows = local.table(f"{name}/train.parquet")
        marked = {(row["annotator"], row["open_link"]) for row in rows}
        assert marked == {
            (community.pseudonym(community.ann), False),
            *((community.pseudonym(guest), True) for guest in community.guests),
        }
    assert "| Votes that came by an open link | 8 (67 %) |" in card(local)
    assert "one person may have voted from several devices" in card(local)
    # Who has agreed to what, and when.
    kept = people(local)
    assert [(row["annotator"], row["consent"]) for row in kept] == sorted(
        [
            (community.pseudonym(community.ann), "0123456789abcdef"),
            *((community.pseudonym(guest), "fedcba9876543210") for guest in community.guests),
        ]
    )
    assert {row["open_link"] for row in kept if row["consent"].startswith("f")} == {"yes"}
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}", row["consented_at"]) for row in kept)
    assert {row["credit"] for row in kept} == {""}
    if sys.platform != "win32":
        assert stat.S_IMODE((local.data / "private" / "votes" / "people.csv").stat().st_mode) == 0o600
    folders = [local.data / "votes", local.data / "kto", local.project / "publish"]
    public = b"".join(data for folder in folders for data in tree(folder).values())
    assert b"guest-" not in public and b"fedcba9876543210" not in public


def test_without_open_links_nothing_speaks_of_them(local: LocalVoting) -> None:
    local.set(min_votes="1")
    with local.service as service:
        ann = service.device(link=local.link("ann"))
        local.vote_all(ann)
        ann.close()
        before = card(local)
        assert not [line for line in exported(local) if "open link" in line]
    assert "open link" not in card(local) and "several devices" not in card(local) and "Thanks to" not in card(local)
    assert card(local) != before


def test_left_out_votes_come_back_as_they_were(community: Community) -> None:
    local = community.local
    exported(local)
    before = everything(local)
    assert local.made("--close", "--votes")
    said = exported(local)
    assert "Votes that do not count any more: 8" in said and "Votes: 4" in said and "People who voted: 1" in said
    assert {row["annotator"] for row in local.table("votes/train.parquet")} == {community.pseudonym(community.ann)}
    assert len(local.table("private/votes/train.parquet")) == 12, "they are kept"
    assert "open link" not in card(local)
    assert {row["n_votes"] for row in local.table("kto/train.parquet")} == {1}
    # What does not ask Argilla knows it, too, and so does a project whose database is gone.
    id = local.table("votes/train.parquet")[0]["record_id"]
    home = local.home.rename(local.project / "gone")
    shutil.copytree(local.project, local.project.parent / "copy")
    done = LocalVoting(local.project.parent / "copy", "", "").run("export.py", "leave-out", id, "--reason", "asked")
    assert done.returncode == 0 and "Votes: 3" in done.stdout, done.stderr
    home.rename(local.home)
    # And back.
    assert local.made("--restore")
    exported(local)
    assert everything(local) == before


def test_the_votes_of_one_person_are_left_out(community: Community) -> None:
    local = community.local
    exported(local)
    name = community.name(community.guests[1])
    local.made("--revoke", name, "--votes")
    local.made("--revoke", "ann", "--votes")
    said = exported(local)
    assert "Votes that do not count any more: 8" in said and "Votes: 4" in said
    assert {row["annotator"] for row in local.table("votes/train.parquet")} == {
        community.pseudonym(community.guests[0])
    }
    local.made("--restore", "ann")
    assert "Votes: 8" in exported(local)


def test_who_takes_the_votes_back_is_forgotten(community: Community) -> None:
    local = community.local
    record = local.rows("SELECT record_id FROM responses LIMIT 1")[0][0]
    for device in (community.guests[0], community.ann):
        ((id,),) = local.rows("SELECT id FROM kto_lines WHERE record_id = ? AND user_id = ?", record, device.person)
        device.vote(record, "bad", replaces=id, comment="I am somebody, really")
    community.ann.call("credits", name="Ann")
    exported(local)
    gone = [community.pseudonym(device) for device in (community.guests[0], community.ann)]
    assert len(people(local)) == 3 and "- Ann\n" in card(local)
    community.guests[0].call("withdraw")
    community.ann.call("withdraw")
    said = exported(local)
    assert "Votes: 4" in said and "Votes that came by an open link: 4 (100 %)" in said
    assert [name for name in gone if any(line.startswith(f"The votes and comments of {name}") for line in said)] == gone
    assert (local.data / "private" / "forgotten.txt").read_text("utf-8").split() == sorted(gone)
    for path in [*local.data.rglob("*"), local.project / CARD]:
        if path.is_file() and path.name != "forgotten.txt":
            content = path.read_bytes()
            assert not [name for name in (*gone, "really") if name.encode() in content], path
    assert "- Ann\n" not in card(local)
    # Whatever comes later under this name does not count.
    assert local.invite("ann")[0] == 1
    assert "Votes: 4" in exported(local)


def test_who_is_forgotten_loses_the_link(community: Community) -> None:
    local = community.local
    secret = local.links()["ann"]
    exported(local)
    guest = community.pseudonym(community.guests[0])
    for name in ("ann", guest):
        assert local.export_command("forget", name).returncode == 0
    assert refusal(community.ann) == refusal(community.guests[0]) == (403, "withdrawn")
    assert refused_entry(community.service, secret) == (403, "revoked")
    assert list(local.links()) == ["*"] and community.guests[1].call("progress")
    with local.database() as database:  # as the command says, the lead deletes the account, too
        database.execute("PRAGMA foreign_keys = ON")
        database.execute("DELETE FROM users WHERE username = 'ann'")
    status, _, errors = local.invite("ann")
    assert status == 1 and "Choose another name" in errors, "later votes under this name would not count"
    assert "Votes: 4" in exported(local)
    assert [row["annotator"] for row in people(local)] == [community.pseudonym(community.guests[1])]


HOSTILE = [
    *("<script>alert(1)</script>", "<!-- end numbers -->", "[x](javascript:alert(1))", "=HYPERLINK(1)", "`a`", "&lt;"),
    *("https://example.org", "www.example.org", "a@example.org", "| a | b |", "# Ann", "1. Ann", "አና", "\\*a\\*"),
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_shown_as_it_is_and_as_nothing_else(name: str) -> None:
    assert rendered(as_name(name)) == name
    assert not re.search(r"www\\?\.|[a-z]\\?@|:\\?/", as_name(name)), "an address, for which some pages make a link"


def test_credits_for_those_who_want_it(community: Community) -> None:
    local, (guest, other) = community.local, community.guests
    lurker = community.service.device(link=community.open_link)
    lurker.call("credits", name="Lurker")
    other.call("credits", name="Other")
    guest.call("credits", name="Guest")
    guest.call("credits", name="")
    plain = None
    for name in HOSTILE[:3]:
        community.ann.call("credits", name=name)
        assert local.export().returncode == 0
        text = card(local)
        before, _, rest = text.partition("## Thanks to\n\n")
        listed, _, after = rest.partition("<!-- end numbers -->\n")
        assert sorted(listed.splitlines()) == sorted([f"- {as_name(name)}", "- Other"])
        plain = plain or (before, after)
        assert (before, after) == plain, "the rest of the card is untouched"
    community.ann.call("credits", name="=HYPERLINK(1)")
    exported(local)
    escaped = (local.data / "private" / "votes" / "people.csv").read_text("utf-8")
    assert ",'=HYPERLINK(1)," in escaped
    local.made("--revoke", "ann", "--votes")
    other.call("credits", name="")
    local.export_command()  # only ties are left, and the card is written
    assert "Thanks to" not in card(local) and "HYPERLINK" not in card(local)
    lurker.close()


def rendered(markdown: str) -> str:
    """Return the text of one line of Markdown, which must be nothing but text."""
    from html import unescape

    from markdown_it import MarkdownIt

    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(f"- {markdown}")
    html = html.replace("<!-- -->", "")
    text = re.fullmatch(r"<ul>\n<li>([^<]*)</li>\n</ul>\n", html)
    assert text, html
    return unescape(text[1])


def test_a_card_of_an_earlier_version_has_a_place_for_all_of_it(community: Community) -> None:
    local = community.local
    put = TEMPLATE.parent / "tests" / "update" / "earlier" / "48701f0"
    (earlier,) = [path for path in put.rglob("README.md") if "<!-- numbers -->" in path.read_text("utf-8")]
    own = earlier.read_text(encoding="utf-8") + "\nWhat people wrote.\n"
    (local.project / CARD).write_text(own, encoding="utf-8")
    community.ann.call("credits", name="Ann")
    exported(local)
    text = card(local)
    assert "| Votes that came by an open link | 8 (67 %) |" in text and "- Ann\n" in text
    unmarked = re.compile("(<!-- (numbers|models) -->).*?(<!-- end)", re.DOTALL)
    assert unmarked.sub(r"\1\3", text) == unmarked.sub(r"\1\3", own)


# --- the database itself, running or stopped --------------------------------------------------------------------------


def test_running_and_stopped_give_the_same_files(local: LocalVoting, tmp_path: Path) -> None:
    local.set(min_votes="1")
    with contextlib.ExitStack() as stack:
        argilla = ArgillaServer(local.project)
        stack.callback(argilla.stop)
        argilla.start()
        local.url = argilla.url
        community = Community(local, stack.enter_context(local.service))
        community.close()
        # A person who votes on Argilla's page, too, is one person.
        ((key,),) = local.rows("SELECT api_key FROM users WHERE username = 'ann'")
        local.people["ann"] = local._client(key)
        local.people["owner"] = local._client(local.key)
        record = next(iter(local.records().values()))
        local.vote("ann", record, "bad")
        local.vote("ben", record, "bad", comment="By Argilla's page")
        for client in local.people.values():
            client.close()
        running = exported(local, "--output", str(tmp_path / "running"))
        assert "Votes: 13" in running and "People who voted: 4" in running
        private = tree(local.data / "private")
        assert "people.csv" in str(sorted(private))
        argilla.stop()
    stopped = exported(local, "--output", str(tmp_path / "stopped"))
    assert [line for line in stopped if "/" not in line] == [line for line in running if "/" not in line]
    assert tree(tmp_path / "stopped") == tree(tmp_path / "running") and tree(local.data / "private") == private


@pytest.mark.skipif(os.name != "posix", reason="the stand-in for uv is a shell script")
def test_from_the_invitation_to_the_same_files_after_ctrl_c(tmp_path: Path, english: None) -> None:
    local = LocalVoting(render(tmp_path), "", "")
    local.set(annotators='["ann"]', min_submitted="3", min_votes="1")
    local.generate(ANSWERS)
    with Vote(local.project, tmp_path / "bin") as vote:
        vote.wait_for_argilla()
        assert list(local.links()) == ["ann", "owner"]
        assert f"{vote.url}/vote/#" in local.made("--open")
        for name, given in (("ann", "good"), ("*", "good"), ("owner", "bad")):
            device = Device(vote.url).enter(local.links()[name])
            assert local.vote_all(device, given) == 4
            device.close()
        local.made("--revoke", "owner", "--votes")
        running = exported(local, "--output", str(tmp_path / "running"))
        assert "Votes: 8" in running and "Votes that came by an open link: 4 (50 %)" in running
        assert "Votes that do not count any more: 4" in running
        private = tree(local.data / "private")
        vote.stop()
    exported(local, "--output", str(tmp_path / "stopped"))
    assert tree(tmp_path / "stopped") == tree(tmp_path / "running") and tree(local.data / "private") == private


def test_a_copy_beside_a_running_one_is_not_read(local: LocalVoting, tmp_path: Path) -> None:
    """Not even on the same machine: what runs is asked."""
    local.set(min_votes="1")
    with ArgillaServer(local.project) as argilla:
        copied = Path(shutil.copytree(local.project, tmp_path / "copied", ignore=shutil.ignore_patterns("lock*")))
        local.url = argilla.url
        local.people["owner"] = local._client(local.key)
        local.vote("ben", next(iter(local.records().values())), "good")
        copy = LocalVoting(copied, argilla.url, local.key)
        assert "Votes: 1" in exported(local) and "Votes: 1" in exported(copy)
        for client in local.people.values():
            client.close()


def test_votes_of_an_earlier_project_stay_what_they_are(tmp_path: Path, english: None) -> None:
    """Its tables of votes lack the column, and its Argilla lacks our tables."""
    project = render(tmp_path)
    put_into(project)
    put_argilla(project)
    earlier = LocalVoting(project, "", "")
    paths = [project / "data" / "votes" / "train.parquet", project / "data" / "private" / "votes" / "train.parquet"]
    before = [row for path in paths if path.exists() for row in pq.read_table(path).to_pylist()]
    assert before and "open_link" not in before[0]
    done = earlier.export_command()
    assert done.returncode == 0, done.stderr
    after = earlier.table("private/votes/train.parquet")
    assert {row["open_link"] for row in after} == {False}
    assert {row["vote_id"] for row in before} <= {row["vote_id"] for row in after}
    assert not (project / "data" / "private" / "votes" / "people.csv").exists()
    # Now its people get links, and one of them votes on the page.
    with earlier.database() as database:
        names = [name for (name,) in database.execute("SELECT username FROM users WHERE role = 'annotator'")]
    earlier.made(names[0])
    earlier.made("--revoke", names[0], "--votes")
    done = earlier.export_command()
    assert done.returncode == 0, done.stderr
    out = len(after) - len(earlier.table("votes/train.parquet"))
    assert out > 0 and f"Votes that do not count any more: {out}" in done.stdout
    earlier.made("--restore", names[0])
    assert earlier.export_command().returncode == 0
    assert earlier.table("private/votes/train.parquet") == after
    assert len(earlier.table("votes/train.parquet")) == len(after)
