"""The stand-in for the Hub's router: chat models behind an OpenAI-compatible API (part of standin_hub.py)."""

import time
from collections.abc import Callable

from standin_parts import HubError, Request, served


class Router:
    """Answers `/v1/models` and `/v1/chat/completions` for the models of a hub, by default with an echo.

    For latency use `hub.fail("/v1/chat/completions", delay=0.2)`.
    """

    def __init__(self) -> None:
        self.chats: list[dict] = []  # bodies of the requests that got as far as a model
        self.prompt_status: dict[str, int] = {}  # last user message → status code of the answer
        self.reply: Callable[[dict], str] = lambda body: f"{body['model']}: {last_message(body)}"
        # For a plain OpenAI-compatible server: False (no token needed) and True (any model name)
        self.require_token, self.any_model = True, False

    def list_models(self, models: dict[str, dict]) -> dict:
        data = [_entry(model, info) for model, info in models.items() if served(info, chat=True)]
        return {"object": "list", "data": data}

    def chat(self, call: Request, models: dict[str, dict]) -> dict:
        body = call.json()
        if self.require_token and call.user is None:
            raise HubError(401, "Invalid username or password.")
        id, _, choice = body["model"].partition(":")
        if not self.any_model:
            provider = None if choice in ("", "fastest", "cheapest") else choice
            if id not in models:
                raise _refused(body["model"], "does not exist", "model_not_found")
            if not served(models[id], provider, chat=True):
                why = "is not supported by any provider you have enabled."
                raise _refused(body["model"], why, "model_not_supported")
        self.chats.append(body)
        if status := self.prompt_status.get(last_message(body), 0):
            message = f"The stand-in was told to answer {status}"
            raise HubError(status, message, body={"error": {"message": message, "type": "server_error"}})
        if body.get("stream"):
            raise HubError(400, "The stand-in does not stream")
        words, limit = self.reply(body).split(" "), body.get("max_completion_tokens") or body.get("max_tokens")
        text, cut = " ".join(words[:limit]), limit is not None and len(words) > limit
        answer = {"message": {"role": "assistant", "content": text}, "finish_reason": "length" if cut else "stop"}
        read, said = sum(len(str(m["content"]).split()) for m in body["messages"]), len(text.split(" "))
        return {
            "id": f"chatcmpl-{len(self.chats)}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": id,
            "choices": [{"index": index} | answer for index in range(body.get("n") or 1)],
            "usage": {"prompt_tokens": read, "completion_tokens": said, "total_tokens": read + said},
        }


def _refused(model: str, why: str, code: str) -> HubError:
    message = f"The requested model '{model}' {why}"
    error = {"message": message, "type": "invalid_request_error", "param": "model", "code": code}
    return HubError(400, message, body={"error": error})


def _entry(model: str, info: dict) -> dict:
    def provider(name: str, entry: dict) -> dict:
        extra = {key: entry[key] for key in ("context_length", "pricing") if key in entry}
        return {"provider": name, "status": entry["status"], "is_model_author": False} | extra

    chat = {n: m for n, m in info.get("inferenceProviderMapping", {}).items() if m["task"] == "conversational"}
    about = {"id": model, "object": "model", "created": 1767225600, "owned_by": model.split("/")[0]}
    about["architecture"] = {"input_modalities": ["text"], "output_modalities": ["text"]}
    return about | {"providers": [provider(name, m) for name, m in chat.items() if m["status"] in ("live", "error")]}


def last_message(body: dict) -> str:
    content = next((m["content"] for m in reversed(body["messages"]) if m["role"] == "user"), "")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
