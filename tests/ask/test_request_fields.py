"""Which field of a request an error is about, and the request without it."""

import pytest
from generating import TEMPLATE
from hypothesis import given
from hypothesis import strategies as st
from kto.ask import request_fields
from kto.ask.error_body import ErrorBody

assert TEMPLATE

SYSTEM = "Answer kindly."
CONVERSATION = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hi"}]
BODY = {"model": "m", "max_tokens": 9, "temperature": 0.5, "seed": 1, "user": "me", "messages": CONVERSATION}


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("System role not supported", "system"),
        ("Template error: invalid operation: System role not supported (in <string>:1)", "system"),
        ("System role is not supported by this model.", "system"),
        ("This model doesn't support system messages. Try again without a system message.", "system"),
        ("The model does not support the system role", "system"),
        ("Unsupported value: 'messages[0].role' does not support 'system' with this model.", "system"),
        ('Unexpected role "system". The Messages API accepts a top-level `system` parameter.', "system"),
        ("Invalid role: system", "system"),
        ("role 'system' is not allowed", "system"),
        ("Conversation roles must alternate user/assistant/user/assistant/...", "system"),
        ("Only user and assistant roles are supported!", "system"),
        ("Only user, assistant and tool roles are supported, got system.", "system"),
        ("Developer instruction is not enabled for models/gemma-3-1b-it", "system"),
        ("[{'loc': ['body', 'messages', 0, 'role'], 'msg': \"Input should be 'user' or 'assistant'\"}]", "system"),
        ("messages.0.role: Input should be 'user' or 'assistant'", "system"),
        ("The role of the first message must be user", "system"),
        ("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.", "max_tokens"),
        ("Unrecognized request argument supplied: max_tokens", "max_tokens"),
        ("max_tokens is too large: 100000. This model supports at most 16384 completion tokens.", ""),
        ("'max_tokens' must be less than 4096", ""),
        ("temperature is deprecated for this model", "temperature"),
        ("property 'seed' is unsupported", "seed"),
        ('Invalid JSON payload received. Unknown name "seed": Cannot find field.', "seed"),
        ("Unrecognized request argument supplied: seed", "seed"),
        ("Additional properties are not allowed ('user' was unexpected)", "user"),
        ("The immune system was not supported by the message.", ""),
        ("Your prompt about the solar system was blocked, because it is not safe.", ""),
        ("The file system is full. Invalid state.", ""),
        ("Internal Server Error", ""),
        ("The seed bank is closed", ""),
        ("", ""),
    ],
)
def test_which_field_an_error_is_about(words: str, field: str) -> None:
    assert request_fields.refused_field(ErrorBody(words), BODY, ()) == field


def test_the_field_that_a_server_names_by_itself_comes_first() -> None:
    said = ErrorBody("System role not supported, temperature must be 1", param="seed")
    assert request_fields.refused_field(said, BODY, ()) == "seed"
    assert request_fields.refused_field(ErrorBody("no", param="messages"), BODY, ()) == ""
    renamed = request_fields.without(BODY, {"max_tokens"})
    words = "Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead."
    assert request_fields.refused_field(ErrorBody(words), renamed, {"max_tokens"}) == ""  # or there were no limit


@given(st.sets(st.sampled_from(["max_tokens", "temperature", "seed", "user", "system", "top_p", "other"])))
def test_a_request_always_has_a_limit_and_the_whole_prompt(refused: set[str]) -> None:
    body = request_fields.without(BODY, refused)
    assert body["model"] == "m" and body.get("max_tokens", body.get("max_completion_tokens")) == 9
    assert not body.keys() & (refused - {"system"})
    said = "\n\n".join(message["content"] for message in body["messages"])
    assert said == f"{SYSTEM}\n\nHi" and len(body["messages"]) == (1 if "system" in refused else 2)
    assert BODY["messages"] == [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hi"}]


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=20))
def test_no_words_of_a_server_break_anything(words: str, prompt: str, param: str) -> None:
    body = BODY | {"messages": [CONVERSATION[0], {"role": "user", "content": prompt}]}
    assert request_fields.refused_field(ErrorBody(words, param=param), body, ()) in ("", "system", *BODY)
