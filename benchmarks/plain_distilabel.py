"""distilabel as its documentation shows it: one text generation step per model, in batches, grouped at the end."""

import argparse
import json
import tempfile
from pathlib import Path

from distilabel.models.llms import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import GroupColumns, LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

if __name__ == "__main__":  # distilabel starts processes, which read this file again
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base_url")
    parser.add_argument("prompts", type=Path, help="JSONL with `prompt`")
    parser.add_argument("output", type=Path, help="JSONL with `prompt` and `answers`, by model")
    parser.add_argument("models", nargs="+")
    parser.add_argument("--in-flight", type=int, default=50, help="requests at the same time, per model")
    options = parser.parse_args()
    with options.prompts.open(encoding="utf-8") as lines:
        rows = [{"instruction": json.loads(line)["prompt"]} for line in lines]
    with tempfile.TemporaryDirectory() as cache, Pipeline(name="plain", cache_dir=cache) as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=options.in_flight)
        ask = [
            TextGeneration(
                name=f"ask_{number}",
                llm=OpenAILLM(
                    model=model,
                    base_url=options.base_url,
                    api_key="none",
                    generation_kwargs={"max_new_tokens": 1024, "temperature": 0.7},
                ),
                input_batch_size=options.in_flight,
            )
            for number, model in enumerate(options.models)
        ]
        group = GroupColumns(columns=["generation", "model_name"], output_columns=["generations", "names"])
        load >> ask >> group
        table = pipeline.run(use_cache=False)["default"]["train"].to_list()
    with options.output.open("w", encoding="utf-8") as file:
        for row in table:
            answers = dict(zip(row["names"], row["generations"], strict=True))
            file.write(json.dumps({"prompt": row["instruction"], "answers": answers}, ensure_ascii=False) + "\n")
