"""Makes the bundled model from nothing: `python -m examples.build_tiny_chat` writes examples/tiny-chat/.

Tokenizer, Llama weights and the README's figures all follow from the seed. Two cores, no network, no other model.
"""

import argparse
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from examples import tiny_tasks as tasks
from examples import tiny_world as world
from examples.build_tiny_rows import HeldOut, held_out_list
from examples.tiny_tasks import Conversation

FOLDER = Path(__file__).parent / "tiny-chat"
SEED = 11
STEPS = 2000
BATCH_SIZE = 64
LEARNING_RATE = 2e-3
VOCAB_SIZE = 1500
MAX_LENGTH = 512
END, START, PAD, BOS = "<|im_end|>", "<|im_start|>", "<|pad|>", "<|endoftext|>"
CHAT_TEMPLATE = """\
{#- ChatML. What stands between the generation marks is what a model learns: the answer and the end of its turn. -#}
{%- for message in messages -%}
{%- if message['role'] == 'assistant' -%}
{{- '<|im_start|>assistant\\n' -}}
{%- generation -%}{{- message['content'] | trim -}}{{- '<|im_end|>' -}}{%- endgeneration -%}
{{- '\\n' -}}
{%- else -%}
{{- '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""
KINDS = {
    "question": "questions about the world",
    "repetition": "sentences to repeat",
    "rewriting": "sentences to rewrite on request",
    "follow_up": "second questions that say it, he or she",
    "unknown": "things it cannot know or do",
    "capitals": "system prompt: answer in capitals",
    "one_word": "system prompt: answer in one word",
}
README = """\
# Tiny Chat

A chat model of {parameters:.1f} million parameters that ships with this project, so that everything here runs with no network
and no GPU. It is real (trained from nothing, by `python -m examples.build_tiny_chat`), and it is tiny: it knows one small
made-up world and nothing else.

## What it knows
{beings} animals, {people} people and {things} objects: their colours, jobs, places, habits, friends and owners. It was taught to
- answer questions about them ("Where does the fox live?", "Tell me about Anna."), also in lower case or without the
  question mark, also when a second question only says "it", "he" or "she";
- repeat a sentence ("Say this: The red fox likes the old lamp.") and rewrite it on request (object first, place first, as a
  question, who does it);
- obey a system prompt that asks for capitals or for one word;
- say "Sorry, I do not know." to everything else, and to greet and to introduce itself.

What it cannot do: repeat a sentence made of words from outside its world (what comes out is nonsense); say yes or no (to "Is
the fox red?" it names the right colour, but the yes or no before it is a guess); reason, count, or know anything real.

## How well it does
Held-out list, exactly right, greedy, measured on the saved file: {right} of {asked}.

| asked | exactly right |
|---|---|
{table}

One phrasing in {share} and one sentence in {share}, chosen by a hash of its text, never occur in training; the list is drawn
from those, so it asks in combinations of words that are new to the model, about facts that are not. The tasks in
training were adjusted twice after earlier models had been tried, once on an earlier form of this list.

## How it was made
Llama architecture: 4 layers, width 256, 4 heads, tied embeddings; byte-level BPE of {vocabulary} tokens; ChatML template with
marks around what is learned; no system prompt and no leading token is added. {steps} steps of 64 freshly generated
conversations ({conversations:,} in all), loss on the assistant's tokens only, AdamW, seed {seed}: {minutes:.0f} minutes on two
cores. Weights are stored in 16 bit. Another machine or number of threads rounds differently and gives a slightly different
model.

License: Apache-2.0, like the project.
"""


def build_tokenizer(conversations: list[Conversation]):
    """Byte-level BPE with GPT-2's pre-tokenizer; every byte is in the alphabet, so any text survives."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=[BOS, START, END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = (m[key] + ("\n" if key == "role" else "") for c in conversations for m in c for key in ("role", "content"))
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=END,
        pad_token=PAD,
        model_max_length=MAX_LENGTH,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        add_bos_token=False,
    )


def build_model(tokenizer):
    """About three million float32 parameters, input and output embedding tied."""
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        **ids,
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(
        **ids, pad_token_id=tokenizer.pad_token_id, do_sample=False, max_new_tokens=64
    )
    return model


def encode(tokenizer, conversations: list[Conversation]) -> list[tuple[list[int], list[int]]]:
    """(token ids, 1 where the token is the assistant's own) per conversation."""
    encoded = tokenizer.apply_chat_template(conversations, return_assistant_tokens_mask=True, return_dict=True)
    return list(zip(encoded["input_ids"], encoded["assistant_masks"], strict=True))


def batches(
    tokenizer, entities: list[world.Entity], steps: int, seed: int
) -> Iterator[list[tuple[list[int], list[int]]]]:
    """Endless fresh conversations, `steps` batches of them; rows of one batch have nearly the same length."""
    rng = random.Random(seed)
    made = 0
    while made < steps:
        rows = encode(tokenizer, [tasks.conversation(rng, entities) for _ in range(BATCH_SIZE * 50)])
        rows.sort(key=lambda row: len(row[0]))
        pool = [rows[i : i + BATCH_SIZE] for i in range(0, len(rows), BATCH_SIZE)]
        rng.shuffle(pool)
        yield from pool[: steps - made]
        made += len(pool)


def loss_of(model, rows: list[tuple[list[int], list[int]]], pad: int):
    """Mean cross entropy of the assistant's tokens; padding is on the right, so causal attention never sees it."""
    import torch

    longest = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [pad] * (longest - len(row)) for row, _ in rows])
    own = torch.tensor([mask + [0] * (longest - len(mask)) for _, mask in rows]).bool()
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[own[:, 1:]]), ids[:, 1:][own[:, 1:]])


def train(model, tokenizer, entities: list[world.Entity], steps: int, seed: int) -> float:
    """Trains in place; returns the mean loss of the last hundred steps."""
    import torch

    decay = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.98), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1, cycle_momentum=False
    )
    model.train()
    losses, began = [], time.monotonic()
    for step, rows in enumerate(batches(tokenizer, entities, steps, seed), 1):
        loss = loss_of(model, rows, tokenizer.pad_token_id)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step % 100 == 0:
            print(
                f"step {step}/{steps}  loss {sum(losses[-100:]) / 100:.4f}  {time.monotonic() - began:.0f} s",
                flush=True,
            )
    return sum(losses[-100:]) / len(losses[-100:])


def answers(model, tokenizer, prompts: list[Conversation], batch_size: int = 64) -> list[str]:
    """Greedy answers, batched with padding on the left."""
    import torch

    tokenizer.padding_side = "left"
    replies: list[str] = []
    for i in range(0, len(prompts), batch_size):
        encoded = tokenizer.apply_chat_template(
            prompts[i : i + batch_size], add_generation_prompt=True, return_dict=True, return_tensors="pt", padding=True
        )
        with torch.inference_mode():
            out = model.generate(**encoded, max_new_tokens=64, do_sample=False)
        replies += tokenizer.batch_decode(out[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
    return replies


def score(model, tokenizer, held_out: list[HeldOut]) -> dict[str, tuple[int, int]]:
    """kind -> (exactly right, asked)."""
    model.eval()
    right: dict[str, list[bool]] = {}
    for item, reply in zip(held_out, answers(model, tokenizer, [i["messages"] for i in held_out]), strict=True):
        right.setdefault(item["kind"], []).append(reply == item["answer"])
        if reply != item["answer"]:
            print(f"wrong ({item['kind']}): {item['messages'][-1]['content']} -> {reply}, not {item['answer']}")
    return {kind: (sum(hits), len(hits)) for kind, hits in right.items()}


def save(model, tokenizer, folder: Path) -> None:
    import torch

    model.to(torch.float16).save_pretrained(folder)
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)


def readme(scores: dict[str, tuple[int, int]], steps: int, seed: int, minutes: float, parameters: int) -> str:
    """The model's README with the figures just measured."""
    right, asked = (sum(pair[i] for pair in scores.values()) for i in (0, 1))
    table = "\n".join(f"| {KINDS[kind]} | {hits} of {n} |" for kind, (hits, n) in scores.items())
    return README.format(
        right=right, asked=asked, table=table, steps=steps, seed=seed, minutes=minutes, parameters=parameters / 1e6,
        conversations=steps * BATCH_SIZE, vocabulary=VOCAB_SIZE, beings=len(world.ANIMALS), things=len(world.THINGS),
        people=len(world.MEN) + len(world.WOMEN), share=world.RESERVED_SHARE,
    )  # fmt: skip


def make(folder: Path, steps: int, seed: int) -> None:
    """The whole way: tokenizer, weights, files, figures. The figures are those of the saved 16-bit file."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(seed)
    entities = world.build_world()
    rng = random.Random(seed)
    tokenizer = build_tokenizer([tasks.conversation(rng, entities) for _ in range(30_000)])
    model = build_model(tokenizer)
    print(f"{len(tokenizer)} tokens, {model.num_parameters():,} parameters", flush=True)
    began = time.monotonic()
    train(model, tokenizer, entities, steps, seed)
    minutes = (time.monotonic() - began) / 60
    save(model, tokenizer, folder)
    saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    scores = score(saved, AutoTokenizer.from_pretrained(folder), held_out_list())
    text = readme(scores, steps, seed, minutes, saved.num_parameters())
    (folder / "README.md").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--out", type=Path, default=FOLDER)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    make(arguments.out, arguments.steps, arguments.seed)


if __name__ == "__main__":
    main()
