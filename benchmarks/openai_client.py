"""The plain way: OpenAI's own client, one semaphore per model, answers in memory, one file at the end.

It neither keeps answers on the way nor judges them, so it is the measure of what asking costs in Python.
"""

import argparse
import asyncio
import json
from pathlib import Path

import httpx2  # what the client is made of
from openai import AsyncOpenAI, DefaultAsyncHttpxClient


async def _ask(base_url: str, models: list[str], prompts: list[str], in_flight: int) -> list[list[str | None]]:
    """Return the answers of each model in the order of the prompts."""
    places = in_flight * len(models)
    limits = httpx2.Limits(max_connections=places, max_keepalive_connections=places)
    async with AsyncOpenAI(
        base_url=base_url, api_key="none", http_client=DefaultAsyncHttpxClient(limits=limits)
    ) as client:

        async def ask(model: str, prompt: str, slots: asyncio.Semaphore) -> str | None:
            async with slots:
                reply = await client.chat.completions.create(
                    model=model, messages=[{"role": "user", "content": prompt}], max_tokens=1024, temperature=0.7
                )
            return reply.choices[0].message.content

        async def ask_all(model: str) -> list[str | None]:
            slots = asyncio.Semaphore(in_flight)
            return await asyncio.gather(*(ask(model, prompt, slots) for prompt in prompts))

        return await asyncio.gather(*map(ask_all, models))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("prompts", type=Path, help="JSONL with `prompt`")
    parser.add_argument("output", type=Path, help="JSONL with `prompt` and `answers`, by model")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--in-flight", type=int, default=50, help="requests at the same time, per model")
    options = parser.parse_args()
    with options.prompts.open(encoding="utf-8") as lines:
        texts = [json.loads(line)["prompt"] for line in lines]
    found = asyncio.run(_ask(options.base_url, options.models, texts, options.in_flight))
    with options.output.open("w", encoding="utf-8") as file:
        for text, answers in zip(texts, zip(*found, strict=True), strict=True):
            row = {"prompt": text, "answers": dict(zip(options.models, answers, strict=True))}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
