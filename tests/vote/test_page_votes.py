"""The voting page: from a link to votes that are stored, on a phone and with keys."""

from pathlib import Path

import pytest
from browser import browser
from playwright.sync_api import Browser
from voting_phone import DESKTOP, phone
from voting_service import VotingService, make_home, voting, words

__all__ = ["browser", "voting"]

PRACTICE = [
    {"prompt": f"Practice {number}?", "answer": f"<p>It is {number}.</p>", "raw": f"It is {number}.", "vote": vote}
    | {"reason": f"Because of {number}."}
    for number, vote in enumerate(["good", "bad", "bad", "good", "bad", "bad"], 1)
]
LONG = "\n\n".join(f"{number}. A step of the recipe that takes a while to read." for number in range(1, 60))
ANSWERS = {
    "Which one is short?": ["This one."],
    "Which one is long?": [LONG],
    "Is this " + "a long question with many words, " * 30 + "or not?": ["It is."],
    **{f"Question {number}?": [f"Answer {number}."] for number in range(30)},
}


def stored(voting: VotingService, name: str) -> list[tuple[str, str]]:
    """Return status and values of a person's responses, oldest first."""
    return voting.rows(
        'SELECT status, "values" FROM responses JOIN users ON users.id = user_id WHERE username = ? '
        "ORDER BY responses.inserted_at",
        name,
    )


def guests(voting: VotingService) -> int:
    return voting.rows("SELECT count(*) FROM kto_voters")[0][0]


def test_two_taps_to_the_first_card_and_the_third_one_votes(browser: Browser, voting: VotingService) -> None:
    requests: list[str] = []
    with phone(browser) as person:
        person.page.on("request", lambda request: requests.append(request.url))
        person.open(voting.link("amina"))  # the first tap is on the link
        person.page.locator("#actions button").first.wait_for()
        assert person.page.url == f"{voting.url}/vote/"  # the secret is gone from the address
        assert stored(voting, "amina") == []
        person.action(1)
        person.page.locator("#prompt").wait_for()
        assert person.heading == "Question 1"
        person.vote("good")
        assert person.heading == "Question 2" and person.said == "Saved: good."
        person.eventually(lambda: stored(voting, "amina"), [("submitted", '{"vote": {"value": "good"}}')])
        person.page.reload()  # no second consent
        person.page.locator("#prompt").wait_for()
        assert person.heading == "Question 2" and person.mine() == 1
    assert {url.split("/")[2] for url in requests} == {voting.url.split("/")[2]}


def test_a_vote_changes_until_the_next_one(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.join(voting.link("bela"))
        first = person.prompt
        person.vote("bad")
        second = person.prompt
        person.chip("Not true").click()
        person.chip("Unsafe").click()
        person.chip("Not true").click()
        assert person.chip("Unsafe").get_attribute("aria-pressed") == "true"
        person.click(person.chip("Comment"))
        person.page.locator("#comment").fill("It says nothing.")
        person.click(person.page.get_by_role("button", name="Save"))
        assert person.prompt == second
        kept = (
            "submitted",
            '{"vote": {"value": "bad"}, "reasons": {"value": ["unsafe"]}, "comment": {"value": "It says nothing."}}',
        )
        person.eventually(lambda: stored(voting, "bela"), [kept])
        person.click("#undo")
        assert person.prompt == first and person.heading == "Question 1" and person.said.startswith("Undone")
        person.eventually(lambda: [status for status, _ in stored(voting, "bela")], ["draft"])
        person.vote("good")
        person.vote("skip")
        person.eventually(lambda: [status for status, _ in stored(voting, "bela")], ["submitted", "discarded"])
        assert stored(voting, "bela")[0][1] == '{"vote": {"value": "good"}}'
        assert person.mine() == 2


def test_keys(browser: Browser, voting: VotingService) -> None:
    with phone(browser, **DESKTOP) as person:
        person.open(voting.link("carol"))
        person.page.keyboard.press("Tab")
        for _ in range(6):  # to "Vote now", by the keyboard alone
            if person.page.evaluate("document.activeElement.innerText") == "Vote now":
                break
            person.page.keyboard.press("Tab")
        person.eventually(lambda: person.page.keyboard.press("Enter") or person.page.locator("#prompt").count(), 1)
        for key, number in (("1", 2), ("2", 3), ("3", 4), ("Backspace", 3), ("Numpad1", 4)):
            person.eventually(lambda key=key: person.page.keyboard.press(key) or person.heading, f"Question {number}")
        person.eventually(
            lambda: [status for status, _ in stored(voting, "carol")], ["submitted", "submitted", "submitted"]
        )
        assert person.page.evaluate("document.activeElement.innerText") == "Question 4"


def test_a_double_tap_votes_once(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.join(voting.link("dan"))
        person.eventually(lambda: person.page.locator("#good").dblclick() or person.heading, "Question 2")
        person.eventually(lambda: len(stored(voting, "dan")), 1)
        assert person.mine() == 1
        # Not even by a program: before the first paint of a card nothing counts.
        before = person.heading
        person.page.evaluate("for (let i = 0; i < 5; i++) document.querySelector('#good').click()")
        assert person.heading in (before, "Question 3")
        person.page.evaluate("for (let i = 0; i < 5; i++) document.querySelector('#good').click()")
        assert person.heading in (before, "Question 3")


def test_practice(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.open(voting.link("emma")).action(0)
        for number, vote in enumerate(("good", "good", "skip"), 1):
            person.page.locator("#thumbs").wait_for()
            assert person.heading == f"Practice {number} of 3"
            person.vote(vote)
            same, other = "We see it the same way.", "We would say: bad."
            assert person.heading == (same if number == 1 else other)
            assert f"Because of {number}." in person.page.locator(".verdict").inner_text()
            assert person.page.locator("#last").is_hidden()
            person.action()
        person.page.locator("#open-menu").wait_for()
        assert person.heading == "Question 1"
        assert stored(voting, "emma") == []
        person.menu("Practise")  # the other three, when somebody asks for them
        assert person.prompt == "Practice 4?"
        person.vote("bad")
        person.action(1)
        assert person.heading == "Question 1"
        person.page.reload()
        person.page.locator("#prompt").wait_for()
        assert person.heading == "Question 1"


def test_practice_without_a_server_for_votes(browser: Browser, voting: VotingService) -> None:
    calls: list[str] = []
    voting.change(practice_only=True)
    try:
        with phone(browser) as person:
            person.page.on("request", lambda request: calls.append(request.url))
            person.open(f"{voting.url}/vote/")
            person.page.locator("#actions button").first.wait_for()
            assert person.page.locator("#actions button").count() == 1
            person.action()
            for number in range(1, 7):
                assert person.heading == f"Practice {number} of 6"
                person.vote("good")
                person.action()
            assert person.heading.startswith("All done")
            person.action()
            assert person.heading == "Practice 1 of 6"
    finally:
        voting.change(practice_only=False)
    assert not [url for url in calls if "/api/" in url]


def test_the_menu(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.join(voting.link("fay"))
        person.menu("How to decide")
        assert person.heading == "How to decide" and "open dataset" in person.page.locator("main").inner_text()
        person.action()
        size = "parseFloat(getComputedStyle(document.querySelector('#main')).fontSize)"
        before = person.page.evaluate(size)
        person.click("#open-menu")
        while person.page.locator(".larger").get_attribute("aria-disabled") == "false":
            person.page.locator(".larger").click()
        assert person.page.evaluate(size) == 2 * before
        person.page.reload()
        person.page.locator("#prompt").wait_for()
        assert person.page.evaluate(size) == 2 * before
        person.click("#open-menu")
        while person.page.locator(".smaller").get_attribute("aria-disabled") == "false":
            person.page.locator(".smaller").click()
        assert person.page.evaluate(size) < before
        person.action()

        person.menu("Name me in the credits")
        person.page.locator("#name").fill("Fay")
        person.click(person.page.get_by_role("button", name="Save"))
        assert voting.rows("SELECT credit FROM kto_voters WHERE credit IS NOT NULL") == [("Fay",)]
        person.menu("Name me in the credits")
        assert person.page.locator("#name").input_value() == "Fay"
        person.click(person.page.get_by_role("button", name="Take my name off"))
        assert voting.rows("SELECT credit FROM kto_voters WHERE credit IS NOT NULL") == []

        person.vote("good")
        person.eventually(lambda: len(stored(voting, "fay")), 1)
        person.menu("Take my votes back")
        person.action(1)  # rather not
        assert person.heading == "Question 2"
        person.menu("Take my votes back")
        person.action(0)
        person.eventually(lambda: person.heading, "Your votes are taken back. Thank you for your time.")
        person.eventually(lambda: [status for status, _ in stored(voting, "fay")], ["discarded"])
        assert person.page.evaluate("Object.keys(localStorage).filter(name => !/letters|practised/.test(name))") == []


def test_another_person_takes_the_phone(browser: Browser, voting: VotingService) -> None:
    link, other = voting.link("gus"), voting.link("hana")
    with phone(browser) as person:
        person.join(link).vote("good")
        person.menu("That is not me")
        person.action(0)
        assert person.heading == "To take part, open the link that you were sent."
        person.join(other)
        assert person.heading == "Question 1"
        person.vote("bad")
        person.eventually(lambda: len(stored(voting, "hana")), 1)
        assert len(stored(voting, "gus")) == 1
        person.join(link)  # a link of somebody else asks again who is there
        person.eventually(person.mine, 1)


def test_one_person_on_two_devices(browser: Browser, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", {"One?": ["1."], "Two?": ["2."]})
    with VotingService(home, words()) as voting, phone(browser) as first, phone(browser) as second:
        link = voting.link("ivo")
        for device in (first, second):
            device.join(link)
        while second.prompt != first.prompt:
            second.vote("skip")
        first.vote("good")
        first.eventually(lambda: voting.rows("SELECT count(*) FROM responses WHERE status = 'submitted'"), [(1,)])
        second.vote("bad")  # of the same answer: the vote that was there stays
        first.eventually(second.outbox, [])
        voted = '"vote": {"value": "good"}'
        first.eventually(lambda: [voted in values for _, values in stored(voting, "ivo") if "vote" in values], [True])
        first.eventually(lambda: second.page.locator("#last").is_hidden())  # nothing to undo here


def test_an_open_link(browser: Browser, voting: VotingService) -> None:
    link = voting.link()
    before = guests(voting)
    with phone(browser) as first, phone(browser) as second:
        for person in (first, second):
            person.join(link)
        first.open(link)  # again, from the channel: nobody new
        first.page.locator("#prompt").wait_for()
        assert guests(voting) == before + 2
        first.vote("good")
        first.menu("Go on in my browser")
        own = first.page.locator("textarea").input_value()
        assert own.startswith(f"{voting.url}/vote/#") and link.split("#")[1] in own
        first.action(0)
        first.eventually(lambda: first.page.locator("#actions button").first.inner_text(), "Copied")
        with phone(browser) as elsewhere:
            elsewhere.join(own)
            first.eventually(elsewhere.mine, 1)
            assert elsewhere.heading == "Question 2"


def test_a_person_with_a_link_of_their_own_taps_on_the_open_one(browser: Browser, voting: VotingService) -> None:
    with phone(browser) as person:
        person.join(voting.link("jo")).vote("good")
        person.eventually(lambda: len(stored(voting, "jo")), 1)
        person.join(voting.link()).vote("good")
        person.eventually(lambda: len(stored(voting, "jo")), 2)


@pytest.mark.parametrize("kind", ["unknown", "revoked", "closed", "full"])
def test_a_link_that_lets_nobody_in(kind: str, browser: Browser, voting: VotingService) -> None:
    link = f"{voting.url}/vote/#nobody" if kind == "unknown" else voting.link("kim" if kind == "revoked" else None)
    column = {"revoked": "closed_at = '2026-01-01'", "closed": "closed_at = '2026-01-01'", "full": "voter_limit = 0"}
    if kind != "unknown":
        with voting.database() as database:
            from kto.vote.voting_server.links import digest

            database.execute(
                f"UPDATE kto_links SET {column[kind]} WHERE hash = ?",
                (digest(link.split("#")[1]),),
            )
    with phone(browser) as person:
        person.open(link).action(1)
        person.eventually(lambda: person.heading, voting.page["words"]["link_" + kind])
        assert person.page.locator("#thumbs").is_hidden()


def test_a_link_is_revoked_while_its_person_votes(browser: Browser, voting: VotingService) -> None:
    link = voting.link("lea")
    with phone(browser) as person:
        person.join(link).vote("good")
        person.eventually(lambda: len(stored(voting, "lea")), 1)
        with voting.database() as database:
            database.execute("UPDATE kto_links SET closed_at = '2026-01-01' WHERE name = 'lea'")
        person.vote("good")
        person.eventually(lambda: person.heading, voting.page["words"]["link_revoked"])
        assert len(person.outbox()) == 1  # whoever closed it may open it again


def test_robots_use_no_link_up(browser: Browser, voting: VotingService) -> None:
    link = voting.link()
    before = guests(voting)
    with phone(browser) as robot:
        for _ in range(50):
            assert robot.context.request.get(link).ok
        robot.open(link)
        robot.page.locator("#actions button").first.wait_for()
    assert guests(voting) == before
    with phone(browser) as person:
        person.join(link)
    assert guests(voting) == before + 1


def test_all_done(browser: Browser, tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", {"One?": ["1."], "Two?": ["2."]}, overlap=1)
    with VotingService(home, words()) as voting, phone(browser) as person, phone(browser) as late:
        link = voting.link()
        person.join(link).vote("good")
        person.vote("bad")
        person.eventually(lambda: person.heading, "All done, thank you!")
        assert person.page.locator("#last").is_visible()  # the last vote can still be changed
        person.action()
        shared = person.page.locator("textarea").input_value()
        assert shared.endswith(link)
        person.action(1)
        person.click("#undo")
        assert person.heading == "Question 2"
        person.vote("good")
        late.open(voting.link("mia")).action(1)  # a personal link is not passed on
        person.eventually(lambda: late.heading, "All done, thank you!")
        assert late.page.locator("#actions button").count() == 0
