"""Check texts, prompts and models. This asks the Hub or the model server about models, but no model for an answer.

uv run check.py
"""

from kto.check import Findings, models, prompts
from kto.command_line import Parser, run
from kto.errors import UserError
from kto.hub_lookup import Hub
from kto.keys import secret
from kto.settings import load
from kto.texts import t


def main(argv: list[str] | None = None) -> int:
    """Check everything and print all findings; return 1 for problems, also if the Hub or a server did not answer."""
    Parser(t("check.help"), "check").parse_args(argv)
    config = load()
    inference = config.generation.inference
    found, token = Findings(), ""
    with found.collect():
        token = secret(config, "HF_TOKEN")
    with found.collect():
        _ = config.system_prompt
    hub = Hub(token)
    prompts.check_texts(config, found)
    prompts.check_prompts(config, hub, token, found)
    models.check_servers(config, found)
    if inference != "openai-compatible":
        models.check_hub(config, hub, found)
    if hub.token_refused:
        found.problems.append(t("check.bad_token"))
    if inference == "local":
        models.check_folders(config, found)
    if inference == "huggingface" and not token:
        found.notes.append(t("check.no_token"))

    for note in found.notes:
        print(note)
    if found.problems:
        listed = "\n".join(f"  - {problem}" for problem in dict.fromkeys(found.problems))
        raise UserError("check_failed", problems=listed)
    print(t("check.fine"))
    return 0


if __name__ == "__main__":
    run(main, "check")
