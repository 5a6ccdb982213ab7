"""What is asked and what is answered: any number of Dutch prompts, one right answer each, and who has bad luck.

All of it follows from hashes, so that the server and those who check the answers need not talk to each other.
"""

import hashlib
import itertools

_QUESTIONS = (
    "Kun je mij in ongeveer {number} woorden uitleggen {topic}?",
    "Mijn buurvrouw vroeg gisteren {topic}. Wat zou jij haar antwoorden? Schrijf hooguit {number} zinnen.",
    "Ik schrijf een stuk van {number} woorden over de vraag {topic}. Wat mag daarin zeker niet ontbreken?",
    "Leg aan een zaal met {number} scholieren uit {topic}.",
    "Wat is het beste antwoord op vraag {number} van onze dorpsquiz: {topic}?",
)
_TOPICS = (
    "hoe je brood langer vers houdt",
    "waarom de zee zout is",
    "hoe je zelf een lekke band plakt",
    "wat je doet tegen onkruid tussen de tegels",
    "waarom bladeren in de herfst verkleuren",
    "hoe je een oud huis warm krijgt zonder veel te stoken",
    "hoe je een sollicitatiebrief schrijft die opvalt",
)
_SENTENCES = (
    "Begin altijd met de eenvoudigste oplossing, want die werkt vaker dan je zou denken en kost bijna niets.",
    "Vraag ook eens aan iemand in de buurt hoe die het doet, want ervaring staat zelden in een handleiding.",
    "Het helpt om alles vooraf klaar te leggen, zodat je onderweg niet naar het juiste gereedschap hoeft te zoeken.",
    "Neem er rustig de tijd voor en controleer na elke stap of het resultaat nog is wat je ervan verwachtte.",
    "Veel mensen vergeten dat het weer een grote rol speelt, vooral wanneer het buiten lang vochtig blijft.",
    "Wie het goedkoop wil houden, kan de meeste spullen tweedehands kopen of een middag van de buren lenen.",
    "Schrijf op wat je hebt geprobeerd, dan hoef je volgend jaar niet weer helemaal van voren af aan te beginnen.",
    "Er bestaan allerlei verhalen over, maar onderzoekers zijn het er tegenwoordig aardig over eens hoe het zit.",
    "Let vooral op je veiligheid: draag handschoenen, zorg voor goed licht en zet op tijd een raam open.",
    "Lukt het na een paar keer nog niet, laat het dan een dag rusten en kijk er daarna met frisse ogen naar.",
    "Uiteindelijk gaat het erom dat je er zelf plezier in hebt en dat de mensen om je heen er iets aan hebben.",
)


def _number(*parts: str) -> int:
    """Return a number below 2⁶⁴ that looks random and is always the same for the same parts."""
    return int.from_bytes(hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest())


def fails(prompt: str, share: float) -> bool:
    """Whether this prompt is among the `share` (0 … 1) of prompts that no model ever answers."""
    return _number("fails", prompt) < share * 2**64


def refused_once(model: str, prompt: str, share: float) -> bool:
    """Whether this request is among the `share` (0 … 1) of those that are turned away the first time."""
    return _number("refused", model, prompt) < share * 2**64


def prompts(count: int, failing: float = 0.0) -> list[str]:
    """Return `count` different prompts of 40 to 200 characters; exactly the share `failing` of them `fails`."""
    bad = round(count * failing)
    wanted = {True: bad, False: count - bad}
    found: list[str] = []
    for number in itertools.count(1):
        if len(found) == count:
            break
        question, topic = _QUESTIONS[number % len(_QUESTIONS)], _TOPICS[number % len(_TOPICS)]
        text = question.format(number=number, topic=topic)
        kind = fails(text, failing)
        if wanted[kind]:
            wanted[kind] -= 1
            found.append(text)
    return found


def answer(model: str, prompt: str) -> str:
    """Return the one right answer, about 450 characters; a page number in it tells it from all others."""
    number = _number("answer", model, prompt)
    first, step = number % len(_SENTENCES), 1 + number // 16 % (len(_SENTENCES) - 1)
    chosen = [_SENTENCES[(first + step * place) % len(_SENTENCES)] for place in range(4)]
    return f"{' '.join(chosen)} Meer hierover lees je op bladzijde {number % 10**9}."
