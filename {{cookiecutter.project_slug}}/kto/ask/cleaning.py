"""Takes the thoughts of a model out of its answer, where the server does not separate them."""

import re

# Thoughts stand at the beginning, between marks that differ by model.
_THOUGHTS = {
    **{f"<{name}>": f"</{name}>" for name in ("think", "thinking", "thought", "reasoning", "reflection", "seed:think")},
    "[THINK]": "[/THINK]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi
    "<|START_THINKING|>": "<|END_THINKING|>",  # Command A
    "<|begin_of_thought|>": "<|end_of_thought|>",
    "<|inner_prefix|>": "<|inner_suffix|>",  # Apertus
    "<|channel>thought": "<channel|>",  # Gemma
}
# Marks that some models put around the answer after them.
_ANSWERS = {
    "<answer>": "</answer>",
    "<response>": "</response>",
    "<|START_RESPONSE|>": "<|END_RESPONSE|>",
    "<|begin_of_solution|>": "<|end_of_solution|>",
}
_SIGNS = ("<", "[/", "[T", "[t", "◁")  # every mark has one of these

_OPEN = re.compile(rf"\s*({'|'.join(map(re.escape, _THOUGHTS))})", re.IGNORECASE)
_CLOSE = {mark.lower(): re.compile(re.escape(end), re.IGNORECASE) for mark, end in _THOUGHTS.items()}

# gpt-oss: each part of a reply goes into a channel, "final" is for people.
_CHANNEL = re.compile(r"\s*<\|(?:channel|start)\|>")
_FINAL = re.compile(r"<\|channel\|>final[^<\n]{0,40}(?:<\|constrain\|>[^<\n]{0,40})?<\|message\|>")
_BEFORE_CHANNEL = ("<|end|>", "<|start|>assistant")
_AFTER_CHANNEL = re.compile(r"<\|(?:end|return|call|start)\|>")
# The same where the server has removed only the marks.
_BARE = re.compile(r"\s*analysis(?=[A-Z])")
_BARE_FINAL = re.compile("(?<![`\"'“«])assistantfinal")


def clean(raw: str | None) -> str | None:
    """Return an answer without the thoughts before it and the space around it; None if that is all."""
    if raw is None:
        return None
    text = raw
    if "<|channel|>" in raw:
        text = _in_final_channel(raw)
    elif "assistantfinal" in raw and (final := _BARE_FINAL.search(raw)):
        text = raw[final.end() :]
    elif _BARE.match(raw):
        return None
    if any(sign in text for sign in _SIGNS):
        text = _without_thoughts(text)
    return text.strip() or None


def _without_thoughts(raw: str) -> str:
    # Some chat templates open the first block themselves, then only its end is in the answer; where `max_tokens` cut
    # the answer, only the beginning of one is.
    start = 0 if _OPEN.match(raw) else _unopened(raw)
    while opened := _OPEN.match(raw, start):
        closed = _CLOSE[opened[1].lower()].search(raw, opened.end())
        if closed is None:
            return ""
        start = closed.end()
    return _unwrapped(raw[start:].strip()) if start else raw


def _unopened(raw: str) -> int:
    """Return the end of a block without a beginning, 0 if there is none."""
    for mark, end in _THOUGHTS.items():
        position = raw.find(end)
        # An answer about such marks has both, or puts them between backticks.
        if position >= 0 and raw.find(mark, 0, position) < 0 and raw[position - 1 : position] != "`":
            return position + len(end)
    return 0


def _unwrapped(text: str) -> str:
    for mark, end in _ANSWERS.items():
        if text.startswith(mark):
            inner = text[len(mark) :].removesuffix(end)
            return text if end in inner else inner
    return text


def _in_final_channel(raw: str) -> str:
    begun = _CHANNEL.match(raw) is not None
    final = _FINAL.search(raw)
    if final is None:
        return "" if begun else raw
    if not begun and not raw[: final.start()].rstrip().endswith(_BEFORE_CHANNEL):
        return raw  # an answer about such marks
    end = _AFTER_CHANNEL.search(raw, final.end())
    return raw[final.end() : end.start() if end else len(raw)]
