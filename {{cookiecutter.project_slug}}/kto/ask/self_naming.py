"""Answers that name their own model or its maker ("I am Qwen, made by Alibaba"): people who vote should not know it.

A sentence counts if it says one of the phrases in `technical.self_naming` of the texts (the project's language, and
English) with a name in it, outside quotation marks. Answers *about* a model or a maker do not count. A name that is
also a word or a first name (Claude, Gemini) counts only beside a clear one, or a word for what models are.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence

from kto.model_names import public_names, split_provider
from kto.texts import t

NAMES = """
    ChatGPT, GPT, OpenAI, شات جي بي تي, تشات جي بي تي, أوبن إيه آي, أوبن أي آي, चैटजीपीटी, चैट जीपीटी, ओपनएआई
    Anthropic, أنثروبيك, أنثروبك, एंथ्रोपिक, एन्थ्रोपिक
    Google, DeepMind, جوجل, غوغل, गूगल
    Alibaba, Qwen, QwQ, Tongyi, علي بابا, كوين, अलीबाबा, क्वेन, 通义千问, 通義千問, 千问, 阿里巴巴, 阿里云
    DeepSeek, ديب سيك, ديبسيك, डीपसीक, 深度求索
    Mistral AI, Mixtral, ميسترال, मिस्ट्रल
    Microsoft, مايكروسوفت, माइक्रोसॉफ्ट
    Cohere, كوهير, कोहेयर
    xAI, Grok, غروك, ग्रोक
    IBM, NVIDIA, Nemotron, Hugging Face, SmolLM, EleutherAI, Stability AI, Aleph Alpha, Teuken, LeoLM
    AI21, Amazon Titan, Perplexity, Inflection AI, Databricks, Snowflake Arctic, Allen Institute for AI, Ai2, OLMo
    Moonshot AI, Zhipu, ChatGLM, Baidu, ERNIE Bot, MiniMax, Baichuan, StepFun, Tencent, Hunyuan, ByteDance, Doubao
    智谱, 百度, 文心一言, 腾讯, 混元, 豆包, 月之暗面
    Yandex, YandexGPT, GigaChat, Яндекс, Сбер, Technology Innovation Institute, معهد الابتكار التكنولوجي
    SDAIA, ALLaM, سدايا, Inception AI, جامعة محمد بن زايد, Sarvam, Krutrim, BharatGPT, Airavata, सर्वम एआई
    EuroLLM, Apertus, Minerva AI, Naver, HyperCLOVA, EXAONE, Sakana AI, ELYZA, SeaLLM, SEA-LION, Typhoon AI
    GEITje, Fietje, Barcelona Supercomputing Center, Lucie AI, CroissantLLM, LightOn, Vigogne
    InkubaLM, Lelapa, Jacaranda Health, UlizaLlama
    גוגל, עליבאבא, گوگل, چت جی پی تی, چت‌جی‌پی‌تی, اوپن‌ای‌آی, علی‌بابا, اوپن اے آئی, چیٹ جی پی ٹی
    Гугл, Алибаба, Квен, Опен АИ, ЧатГПТ, グーグル, オープンAI, アリババ, チャットGPT, 谷歌, 微软, 微軟, 騰訊, 阿里雲
    গুগল, ওপেনএআই, চ্যাটজিপিটি, আলিবাবা, கூகுள், கூகிள், ஓபன்ஏஐ, சாட்ஜிபிடி, அலிபாபா
    గూగుల్, ఓపెన్ఏఐ, ఓపెన్‌ఏఐ, చాట్‌జీపీటీ, అలీబాబా, กูเกิล, โอเพนเอไอ, แชตจีพีที, แชทจีพีที, อาลีบาบา
    गूगलने, गुगल, ጉግል, ጎግል, ክዌን, Գուգլ, გუგლი
"""
"""Models and makers, as models write them, as of November 2026; those of the project's own models are added."""
WORDS_TOO = """
    Claude, كلود, क्लॉड, Gemini, جيميناي, جيمناي, جيميني, जेमिनी, Bard, बार्ड, Gemma, Llama, لاما, Meta, ميتا, मेटा
    Mistral, Phi, Copilot, Aya, آية, आया, Command R, Granite, Nova, Falcon, فالكون, Jais, جيس, علام, सर्वम, Kimi, Apple
    Salamandra, Lucie, Le Chat
"""
"""The same, but also words or first names."""

_LESS = re.compile("[\u0300-\u036f\u0640\u064b-\u0655\u0670\u093c\u200b-\u200f*_`#>]")
_QUOTED = re.compile('["“”„«「『][^"“”„«»「」『』\n]{12,}["“”»」』]')
_SENTENCES = re.compile("[.!?؟।](?=\\s)|[。！？\n]")
_CLEAR, _UNCLEAR = "\ue000", "\ue001"  # stand in a text for a name
_SIGNS = {"…": ".{0,60}?", "^": "^"}
_BETWEEN = "[\\s\"'(),،、，:–—-]{0,3}"
_START = r"(?<!\w)"
_ARABIC = "[\u0600-\u06ff]"
_NO_SPACES = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff]"
_PLAIN_WORDS = frozenset(("base", "chat", "instruct", "local", "model", "mini", "small", "large", "test", "tiny"))
"""First words in the names of models that say nothing."""


def _plain(text: str) -> str:
    """Return a text without case, marks on letters and Markdown, which differ between ways to write the same."""
    return _LESS.sub("", unicodedata.normalize("NFKD", text.replace("’", "'"))).casefold()


class SelfNaming:
    """Tells which answers name their model; made once for many answers by `for_models`."""

    def __init__(self, models: Sequence[str], phrases: str) -> None:
        marks = dict.fromkeys(map(_plain, [*_listed(NAMES), *_own(models)]), _CLEAR)
        marks |= dict.fromkeys(map(_plain, _listed(WORDS_TOO)), _UNCLEAR)
        names = sorted(marks, key=len, reverse=True)
        self._names = {name: (re.compile(_bounded(name)), marks[name]) for name in names}
        self._shortest = [name for name in names if not any(other != name and other in name for other in names)]
        lines = [line for line in phrases.split("\n") if line.strip()]
        with_name = [_phrase(line) for line in lines if "{name}" in line]
        self._clear = _either(phrase.replace("{name}", _CLEAR) for phrase in with_name)
        self._unclear = _either(phrase.replace("{name}", _UNCLEAR) for phrase in with_name)
        self._beside = _either(_phrase(line) for line in lines if "{name}" not in line)

    def __call__(self, answer: str | None) -> bool:
        """Return whether an answer says which model wrote it, or who made that model."""
        text = _plain(answer or "")
        if not any(name in text for name in self._shortest):
            return False
        for name, (pattern, mark) in self._names.items():
            if name in text:
                text = pattern.sub(mark, text)
        sentences = [part for part in _SENTENCES.split(_QUOTED.sub(" … ", text)) if part.strip()]
        for sentence, following in zip(sentences, [*sentences[1:], ""], strict=True):
            if _CLEAR in sentence and self._clear.search(sentence):
                return True
            if _UNCLEAR in sentence and self._unclear.search(sentence):
                near = f"{sentence} {following}"
                if _CLEAR in near or self._beside.search(near):
                    return True
        return False


def for_models(models: Iterable[str]) -> SelfNaming:
    """Return the rule for a project that asks these models, named as in its settings."""
    return _cached(tuple(models), t("technical.self_naming", name="{name}"))


_cached = functools.lru_cache(maxsize=4)(SelfNaming)


def _listed(names: str) -> list[str]:
    return [name.strip() for name in re.split("[,\n]", names) if name.strip()]


def _own(models: Sequence[str]) -> list[str]:
    """Return what models may call themselves by their names in the settings: `Qwen/Qwen2.5-7B-Instruct` → Qwen."""
    names = []
    for model in public_names([split_provider(model)[0] for model in models]):
        *owner, name = model.split("/")
        first = re.match(r"[^\W\d_]*", name)
        names += [model, name, *owner[:1], first[0] if first else ""]
    return [name for name in names if len(name) >= 4 and name.casefold() not in _PLAIN_WORDS]


def _bounded(name: str) -> str:
    """Return the pattern for a name; letters of another script may touch it, and a version may follow."""
    if re.match("[a-z0-9]", name):
        return rf"(?<![a-z0-9/@.]){re.escape(name)}(?![a-z])(?:[\s-]?v?\d+(?:\.\d+)*b?(?!\w))?"
    prefix = "[وفبلك]?" if re.match(_ARABIC, name) else ""  # "and", "by", "as" are written as part of the word
    return _whole(prefix + re.escape(name), name)


def _whole(pattern: str, text: str) -> str:
    """Let `pattern` match whole words only, unless `text` is in a script without spaces between words."""
    start = "" if re.match(_NO_SPACES, text) else _START
    return start + pattern + ("" if re.search(f"(?:{_NO_SPACES}|\1)$", text) else r"(?!\w)")


def _phrase(line: str) -> str:
    """Return the pattern for a line of `technical.self_naming`; `{name}` stays in it."""
    parts = [_part(part) for part in line.replace("{name}", "\0").replace("*", "\1").split(" + ")]
    whole = parts[0] if len(parts) == 1 else "^" + "".join(f"(?=.*?{part})" for part in parts)
    return whole.replace("\0", "{name}")


def _part(words: str) -> str:
    patterns: list[str] = []
    for word in words.split():
        if word in _SIGNS:
            patterns.append(_SIGNS[word])
            continue
        choices = []
        for choice in word.split("/"):
            text = _plain(choice.replace("_", " "))
            pattern = re.escape(text).replace("\1", r"\w*")
            choices.append(pattern if "\0" in text else _whole(pattern, text))
        start = _START if all(choice.startswith(_START) for choice in choices) else ""
        patterns.append(f"{start}(?:{'|'.join(choice.removeprefix(start) for choice in choices)})")
    return _BETWEEN.join(patterns)


def _either(patterns: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern for one of these; what they share at their start is tried once, which is much faster."""
    patterns = list(patterns)
    words = [pattern.removeprefix(_START) for pattern in patterns if pattern.startswith(_START)]
    others = [pattern for pattern in patterns if not pattern.startswith(_START)]
    return re.compile("|".join([f"{_START}(?:{'|'.join(words)})"] * bool(words) + others) or "(?!)")
