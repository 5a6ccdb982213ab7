"""Tiny Llama folders, made on the spot: real files for the real `transformers serve` and the real trainer.

torch and transformers are imported where a model is made: ten seconds that only some of the tests need.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

START, END = "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONVERSATIONS = [
    ("How do I keep bread fresh?", "Keep it in a paper bag, and freeze what you will not eat within two days."),
    ("What helps against a cold?", "Rest, drink enough water, and see a doctor if it does not get better."),
    ("How can I save water at home?", "Take shorter showers and repair every tap that drips."),
    ("Hoe houd ik brood vers?", "Bewaar het in een papieren zak en vries in wat je niet binnen twee dagen opeet."),
    ("Wat helpt tegen verkoudheid?", "Rust uit, drink genoeg water en ga naar de dokter als het niet beter wordt."),
    ("Hoe kan ik thuis water besparen?", "Douche korter en repareer elke kraan die druppelt."),
    ("كيف أحافظ على الخبز طازجًا؟", "ضعه في كيس من الورق، وجمّد ما لن تأكله خلال يومين."),
    ("ما الذي يساعد عند الزكام؟", "استرح واشرب ما يكفي من الماء، وزر الطبيب إذا لم تتحسن."),
    ("كيف أوفر الماء في البيت؟", "استحم في وقت أقصر وأصلح كل صنبور يقطر."),
]


def make_tiny_model(
    folder: Path,
    seed: int = 0,
    *,
    steps: int = 120,
    conversations: Sequence[tuple[str, str]] | None = None,
    system_prompt: str = "",
) -> Path:
    """Write a two-layer Llama with a tokenizer and a chat template to `folder`; return `folder`.

    It learns `conversations`, or two thirds of `CONVERSATIONS` (which ones depends on `seed`), in `steps` steps, a few
    seconds on one core: enough to answer in whole sentences, after `system_prompt` if it is given, else after any or
    none. With `steps=0` the weights stay random and it babbles. The files take half a megabyte.
    """
    known = conversations or random.Random(seed).sample(CONVERSATIONS, k=2 * len(CONVERSATIONS) // 3)
    texts = [system_prompt, *(text for pair in [*CONVERSATIONS, *known] for text in pair)]
    return make_model(folder, texts, lambda: known, seed, steps=steps, system_prompt=system_prompt)


def make_model(
    folder: Path,
    texts: Sequence[str],
    batch: Callable[[], Sequence[tuple[str, str]]],
    seed: int = 0,
    *,
    steps: int,
    system_prompt: str = "",
    hidden: int = 64,
    layers: int = 2,
    noise: int = 400,
) -> Path:
    """Write a Llama to `folder` whose tokenizer has read `texts` and that has learned a `batch` in each step.

    Without a system prompt there are up to `noise` random tokens before each question.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = _tokenizer(texts)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            tie_word_embeddings=True,
        )
    )
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
    _teach(model, tokenizer, batch, system_prompt, steps, seed, noise)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(texts: Sequence[str]) -> "PreTrainedTokenizerFast":
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=1000, special_tokens=[START, END], initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, pad_token=END)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _teach(
    model: "LlamaForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    batch: Callable[[], Sequence[tuple[str, str]]],
    system_prompt: str,
    steps: int,
    seed: int,
    longest: int,
) -> None:
    import torch

    chance = random.Random(seed)
    torch.set_num_threads(1)  # on a machine with other work, the threads of torch wait for each other most of the time
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.512 / model.config.hidden_size)  # 8e-3 for the usual ones
    model.train()
    told = tokenizer(system_prompt)["input_ids"]
    for _ in range(steps):
        # Any number of random tokens, or none: so it learns to pass over whatever stands before the question.
        noise = chance.choices(
            range(2, len(tokenizer)), k=chance.choice([0, chance.randrange(longest)]) if longest else 0
        )
        model(**_batch(tokenizer, batch(), told or noise)).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def _batch(
    tokenizer: "PreTrainedTokenizerFast", known: Sequence[tuple[str, str]], system: list[int]
) -> "dict[str, torch.Tensor]":
    import torch

    def ids(text: str) -> list[int]:
        return tokenizer(text)["input_ids"]

    rows = []
    for question, answer in known:
        prompt = [*ids(f"{START}system\n"), *system, *ids(f"{END}\n")] if system else []
        prompt += ids(f"{START}user\n{question}{END}\n{START}assistant\n")
        reply = ids(answer + END)
        rows.append((prompt + reply, [-100] * len(prompt) + reply))
    longest = max(len(tokens) for tokens, _ in rows)
    padding = [longest - len(tokens) for tokens, _ in rows]
    return {
        "input_ids": torch.tensor([i + [tokenizer.pad_token_id] * n for (i, _), n in zip(rows, padding, strict=True)]),
        "labels": torch.tensor([labels + [-100] * n for (_, labels), n in zip(rows, padding, strict=True)]),
        "attention_mask": torch.tensor([[1] * (longest - n) + [0] * n for n in padding]),
    }
