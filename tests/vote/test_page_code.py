"""The voting page's files: what browsers of 2019 know, small, and complete. No browser runs here."""

import gzip
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import esprima
import pytest
from rendering import REPOSITORY, TEMPLATE, read_yaml

sys.path.insert(0, str(TEMPLATE))

from kto.questions import COMMENT_MAX, REASONS

PAGE = TEMPLATE / "kto" / "vote" / "page"
SCRIPTS = sorted(PAGE.glob("*.js"))
CSS = (PAGE / "page.css").read_text("utf-8")

# Members of the browser's objects and of the language that the page uses; Chrome 80 and Safari 13 have all of them.
# Look a new one up before it is added: https://developer.mozilla.org shows since when browsers have it.
BROWSER = """
abort activeElement add addAll addEventListener after append body catch caches checked children clear claim classList
className clients clientHeight clipboard clone code controller createElement ctrlKey altKey metaKey data dataset
delete dir document documentElement element execCommand extendableEvent fetch finally focus get getAttribute
getElementById getRandomValues hasAttribute hash has hidden history href id json key keys length localStorage location
locks match message method mode name navigator nodeName nodeType now ok onLine open origin parseFromString pathname
performance persisted postMessage preventDefault querySelector querySelectorAll reason register registration reload
remove removeItem repeat replaceState request respondWith scope scrollHeight scrollLeft scrollTo scrollTop search
select serviceWorker
setAttribute setItem getItem setProperty share signal skipWaiting status style tabIndex target textContent text then
toggle url value visibilityState waitUntil writeText childNodes TEXT_NODE ELEMENT_NODE content click
"""
LANGUAGE = """
all assign concat entries every exec filter find floor from includes indexOf join keys length map max min now parse
push race replace round forEach set shift size slice some sort split startsWith stringify test toLowerCase toString
trim padStart unshift values call resolve then catch finally
"""
GLOBALS = """
AbortController Array Boolean Date DOMParser Error Infinity JSON Map Math Node Number Object Promise Request Response
Set String Uint8Array caches clearTimeout console crypto document fetch history localStorage location navigator
performance requestAnimationFrame self setTimeout undefined window
"""
PROPERTIES = """
-moz-appearance -webkit-appearance -webkit-font-smoothing -webkit-overflow-scrolling -webkit-tap-highlight-color
-webkit-text-size-adjust align-content align-items align-self appearance background border border-bottom
border-collapse border-color border-inline-start border-radius border-top border-width bottom box-shadow box-sizing
clip color color-scheme content cursor display flex flex-direction flex-wrap font font-family font-size font-weight
grid-column grid-gap grid-template-columns height justify-content left line-height margin margin-bottom
margin-inline-end margin-inline-start margin-left margin-right margin-top max-height max-width min-height min-width
opacity order outline outline-offset overflow overflow-wrap overflow-x overflow-y padding padding-bottom
padding-inline-start padding-top pointer-events position resize right scroll-padding-bottom scrollbar-width text-align
text-decoration text-overflow top touch-action transform transition unicode-bidi vertical-align visibility white-space
width word-wrap z-index
"""
ANSWERS = """
Authorization all all_goal answer aspect aspects cards comment consent consent_version credit digits examples guidelines
judged_elsewhere mine person practice_only prompt raw reason reasons record screen seconds secret states step value
version wait words
"""
"""Names in what is sent and received, and in `dataset`."""
LATER = (
    r"(?<!not\():focus-visible|:is\(|:where\(|:has\(|[{;]\s*inset|aspect-ratio|\bclamp\(|(?<!grid-)\bgap|&"
    r"|@layer|@container"
)


def nodes(tree: Any) -> Iterator[Any]:
    """Yield every node of a syntax tree."""
    if isinstance(tree, list):
        for part in tree:
            yield from nodes(part)
    elif hasattr(tree, "type"):
        yield tree
        for part in vars(tree).values():
            yield from nodes(part)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_of_2019(path: Path) -> None:
    tree = esprima.parseModule(path.read_text("utf-8"))  # a parser of 2018: it knows nothing that came later
    used = {node.property.name for node in nodes(tree) if node.type == "MemberExpression" and not node.computed}
    assert used - set(BROWSER.split()) - set(LANGUAGE.split()) - OURS == set()
    declared = {node.name for node in nodes(tree) if node.type == "Identifier"}
    capital = {name for name in declared if name[0].isupper() and not name.isupper()}
    assert capital - set(GLOBALS.split()) - OURS - set(BROWSER.split()) - {"Authorization"} == set()


def _ours() -> set[str]:
    """Return the names of our own modules, objects and data."""
    names = set(ANSWERS.split())
    for node in (node for path in SCRIPTS for node in nodes(esprima.parseModule(path.read_text("utf-8")))):
        if node.type in ("FunctionDeclaration", "ClassDeclaration") and node.id:
            names.add(node.id.name)
        elif node.type in ("MethodDefinition", "Property") and node.key.type == "Identifier":
            names.add(node.key.name)
        elif node.type == "VariableDeclarator" and node.id.type == "Identifier":
            names.add(node.id.name)
        elif node.type == "AssignmentExpression" and getattr(node.left.object, "type", "") == "ThisExpression":
            names.add(node.left.property.name)
    return names


OURS = _ours()


def test_later_syntax_is_found() -> None:
    for later in ("a?.b", "a ?? b", "class A { #b }", "await 1", "a ??= b"):
        with pytest.raises(esprima.Error):
            esprima.parseModule(later)


def test_the_style_is_of_2019() -> None:
    rules = re.sub(r"/\*.*?\*/", "", CSS, flags=re.DOTALL)
    names = set(re.findall(r"[{;]\s*(-?[a-z][a-z-]*)\s*:(?!:)", re.sub(r"@media[^{]*", "", rules)))
    assert names - set(PROPERTIES.split()) == set()
    assert re.findall(LATER, rules) == []
    assert re.search(r"height: 100%;[^}]*height: 100dvh", rules)


def test_the_page_is_small_and_asks_nobody_else() -> None:
    files = {path.name: path.read_bytes() for path in PAGE.iterdir()}
    assert sum(map(len, files.values())) < 75_000  # 100 kB with the words
    assert sum(len(gzip.compress(content)) for content in files.values()) < 35_000
    for name, content in files.items():
        if not name.endswith(".png"):
            addresses = re.findall(rb"(?:https?:)?//[\w.-]+", re.sub(rb"(?m)^\s*//.*$| // .*$", b"", content))
            assert set(addresses) <= {b"http://www.w3.org"}, name
    html = files["index.html"].decode()
    assert not re.search(r"<script(?![^>]*src=)|<style|\son\w+=|\sstyle=", html)  # the CSP forbids inline code


def test_the_worker_keeps_every_file() -> None:
    worker = (PAGE / "worker.js").read_text("utf-8")
    listed = re.findall(r'"([^"]+)"', worker.split("FILES = [")[1].split("]")[0])
    names = {path.name for path in PAGE.iterdir()} - {"worker.js", "index.html"} | {"./", "words.json"}
    assert sorted(listed) == sorted(names)


def test_every_word_is_in_the_catalogue() -> None:
    text = "\n".join(path.read_text("utf-8") for path in SCRIPTS)
    asked = set(re.findall(r'\bt\("(\w+)"', text)) | set(
        re.findall(r'\b(?:action|ask|farewell|forget|offer|wait)\("(\w+)"', text)
    )
    section = read_yaml(REPOSITORY / "languages" / "en.yaml")["page"]
    others = {"question", "answer", "comment_help"}
    prefixes = {"vote_", "saved_", "reason_", "aspect_", "link_", "practice_other_"}
    assert asked - set(section) - others - prefixes == set()
    terminal = {"who", "who_unknown", "unsure", "keys", "practice_ready", "practice_stop", "noscript"}
    whole = set(re.findall(r'"(\w+)"', text))
    unused = {key for key in section if key not in whole and not any(key.startswith(start) for start in prefixes)}
    assert unused - terminal == {"smaller", "larger"} - whole


def test_the_page_and_the_server_agree() -> None:
    text = (PAGE / "voting.js").read_text("utf-8")
    assert f"COMMENT_MAX = {COMMENT_MAX};" in text
    from kto.vote.voting_server.votes import FORMAT

    assert f"const FORMAT = {FORMAT};" in text
    assert set(REASONS) == {"good", "bad"}
    json.loads(re.sub(r"\$\w+", "x", (PAGE / "manifest.json").read_text("utf-8")))
