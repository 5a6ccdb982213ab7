"""A row as tokens: exactly the prompt that a server makes of the conversation, then the answer and its end of turn."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kto.errors import UserError
from kto.tables import Row

Message = Mapping[str, str]

_MARK = "\ue000answer\ue000"
"""Stands for the answer where only what the template writes around it is wanted; private letters, in no template."""
_OPENED_THOUGHT = re.compile(r"<((?:\w+:)?(?:think|thinking|reasoning))>\s*\Z|\[THINK\]\s*\Z")


class Tokens(NamedTuple):
    """The tokens of a row, and its label."""

    prompt: list[int]
    completion: list[int]
    label: bool

    @property
    def length(self) -> int:
        """Number of tokens of both."""
        return len(self.prompt) + len(self.completion)


class ChatTokens:
    """Makes tokens of rows with a tokenizer's chat template; `rows` show what the template does with such rows.

    Attributes
    ----------
    merges_system
        Whether the system prompt goes into the question: the template refuses the role, or leaves its text out.
    closes_thought
        Whether the template begins every answer with an open thought. It is then closed again, as people saw answers
        without thoughts. That is part of the prompt, so nothing is learned about whether to think.

    Raises
    ------
    UserError
        The template does not take conversations of this form; `model` is the name that the error says.
    """

    def __init__(self, tokenizer: Any, model: str, rows: Sequence[Row]) -> None:
        self._tokenizer = tokenizer
        self._model = model
        first = next((row["prompt"] for row in rows if row["prompt"][0]["role"] == "system"), None)
        self.merges_system = first is not None and not self._has_place_for(first)
        asked = self._render(self._messages(rows[0]), add_generation_prompt=True) if rows else ""
        self.closes_thought = _OPENED_THOUGHT.search(asked) is not None

    def _has_place_for(self, prompt: Sequence[Message]) -> bool:
        try:
            text = self._render(prompt)
        except UserError:
            return False
        return prompt[0]["content"].strip() in text

    def _messages(self, row: Row) -> list[Message]:
        """Return the prompt; a system prompt for which the template has no place goes in front of the question."""
        messages: list[Message] = row["prompt"]
        if not (self.merges_system and messages[0]["role"] == "system"):
            return messages
        system, first, *rest = messages
        return [{"role": first["role"], "content": f"{system['content']}\n\n{first['content']}"}, *rest]

    def _render(self, messages: Sequence[Message], **options: Any) -> str:
        from jinja2 import TemplateError

        try:
            return str(self._tokenizer.apply_chat_template(messages, tokenize=False, **options))
        except TemplateError as error:
            raise UserError("chat_template", model=self._model, reason=error) from None

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])  # the template has written them

    def __call__(self, row: Row) -> Tokens:
        """Return the tokens of a row.

        TRL would cut the prompt where the template goes another way with an answer than without one, and train on a
        prompt that no server sends.
        """
        messages = self._messages(row)
        asked = self._render(messages, add_generation_prompt=True)
        before, _, after = self._render([*messages, {"role": "assistant", "content": _MARK}]).partition(_MARK)
        whole = self._render([*messages, *row["completion"]])
        opened = _OPENED_THOUGHT.search(asked)
        if before.startswith(asked):  # perhaps with an empty thought after what is asked
            prompt = before
        elif opened:
            name = opened[1]
            prompt = f"{asked.rstrip()}\n\n" + (f"</{name}>" if name else "[/THINK]") + "\n\n"
        else:
            prompt = asked
        completion = whole.removeprefix(before)
        if len(completion) == len(whole):  # the template changes what stands before some answers
            completion = f"{row['completion'][0]['content'].strip()}{after}"
        if not after.strip():  # it writes nothing that ends a turn
            completion += self._tokenizer.eos_token or ""
        ids, all_ids = self._ids(prompt), self._ids(prompt + completion)
        # Letters on both sides of the border can become one token; then the border stays where servers have it.
        rest = all_ids[len(ids) :] if all_ids[: len(ids)] == ids else self._ids(completion)
        return Tokens(ids, rest, row["label"])


def trainer_rows(rows: Sequence[Tokens], batch_size: int) -> list[dict[str, Any]]:
    """Return rows as TRL's trainer has them after its own preparation.

    KTO also looks at each prompt with the answer of the row before it in the same batch (KTO paper, section 4.1).
    """
    return [
        {
            "prompt_ids": row.prompt,
            "completion_ids": row.completion,
            "KL_completion_ids": batch[index - 1].completion,
            "label": row.label,
        }
        for start in range(0, len(rows), batch_size)
        for batch in [rows[start : start + batch_size]]
        for index, row in enumerate(batch)
    ]
