"""The bundled model is what it claims to be: small, whole, and right about its world."""

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "tiny-chat"
HELD_OUT = json.loads((ROOT / "tests" / "tiny_chat_held_out.json").read_text(encoding="utf-8"))
NO_KNOWLEDGE = (
    "What is the capital of France?", "Who wrote Hamlet?", "What is 7 times 8?", "How do I bake bread?", "where is the zebra",
    "What colour is the sky?", "Who is the president of the moon?", "Where does Oscar live?", "How old is the fox?",
)  # fmt: skip
SMALL_TALK = {
    "Hello!": "Hello! Ask me about the fox, Anna, the lamp or others in my small world.",
    "hi": "Hello! Ask me about the fox, Anna, the lamp or others in my small world.",
    "Who are you?": "I am Tiny Chat, a very small language model.",
    "what can you do?": "I answer questions about my small world, and I repeat or rewrite sentences.",
    "Thank you!": "You are welcome.",
}
CONVERSATION = [
    {"role": "system", "content": "Be polite."},
    {"role": "user", "content": "What colour is the fox?"},
    {"role": "assistant", "content": "The fox is red."},
    {"role": "user", "content": "  Where does it live?\n"},
    {"role": "assistant", "content": "  \n Grüße, 狐狸 🦊\n\nlives  there. "},
]
TEXTS = (
    "naïve café — “x”",
    "日本語 العربية עברית हिन्दी",
    "🦊👩‍👩‍👧\u200d\u0000\t\r\n  tail  ",
    "".join(map(chr, range(1, 0x250))),
)


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


@pytest.fixture(scope="module")
def model():
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(min(2, torch.get_num_threads()))
    return AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def ask(model, tokenizer):
    """Greedy answers to many prompts at once."""
    from examples.build_tiny_chat import answers

    return lambda prompts: answers(model, tokenizer, prompts)


def user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def share_right(ask, kinds: set[str]) -> float:
    items = [item for item in HELD_OUT if item["kind"] in kinds]
    replies = ask([item["messages"] for item in items])
    return sum(reply == item["answer"] for reply, item in zip(replies, items, strict=True)) / len(items)


def test_the_folder_is_small_and_safe():
    files = [path for path in FOLDER.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
        "chat_template.jinja", "README.md",
    }  # fmt: skip
    assert sum(path.stat().st_size for path in files) < 8_000_000


def test_weights_are_finite_halves_and_the_head_is_tied():
    import torch
    from safetensors.torch import load_file

    weights = load_file(FOLDER / "model.safetensors")
    assert "lm_head.weight" not in weights
    assert all(tensor.dtype == torch.float16 and tensor.isfinite().all() for tensor in weights.values())
    assert 2_500_000 < sum(tensor.numel() for tensor in weights.values()) < 3_500_000


def test_the_architecture_suits_every_later_stage(model, tokenizer):
    config = model.config
    assert config.model_type == "llama"
    assert config.tie_word_embeddings
    assert config.intermediate_size % 256 == 0
    assert config.hidden_size % 256 == 0
    assert config.vocab_size == len(tokenizer) <= 1500
    assert tokenizer.pad_token_id != tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    generation = model.generation_config
    assert generation.eos_token_id == tokenizer.eos_token_id
    assert generation.pad_token_id == tokenizer.pad_token_id
    assert not generation.do_sample


def test_it_loads_without_a_warning():
    import subprocess
    import sys

    code = (
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n"
        f"AutoTokenizer.from_pretrained({str(FOLDER)!r}), AutoModelForCausalLM.from_pretrained({str(FOLDER)!r})"
    )
    environment = {**os.environ, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "warn" not in (done.stdout + done.stderr).lower(), done.stderr


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives_the_tokenizer(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.bos_token_id not in ids
    assert tokenizer.eos_token_id not in ids


def test_the_template_marks_exactly_the_answers_and_their_ends(tokenizer):
    encoded = tokenizer.apply_chat_template(CONVERSATION, return_assistant_tokens_mask=True, return_dict=True)
    ids, mask = encoded["input_ids"], encoded["assistant_masks"]
    starts = [i for i, own in enumerate(mask) if own and not mask[i - 1]]
    ends = [mask.index(0, i) if 0 in mask[i:] else len(mask) for i in starts]
    spans = [tokenizer.decode(ids[a:b]) for a, b in zip(starts, ends, strict=True)]
    assert spans == [m["content"].strip() + "<|im_end|>" for m in CONVERSATION if m["role"] == "assistant"]
    assert [tokenizer.decode(ids[b:])[:1] for b in ends] == ["\n", "\n"]


@pytest.mark.parametrize("turn", [2, 4])
def test_the_generation_prompt_is_a_prefix_of_what_is_learned(tokenizer, turn):
    whole = tokenizer.apply_chat_template(CONVERSATION, return_assistant_tokens_mask=True, return_dict=True)
    prompt = tokenizer.apply_chat_template(CONVERSATION[:turn], add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]
    assert whole["input_ids"][: len(prompt)] == prompt
    assert whole["assistant_masks"][len(prompt) - 1 : len(prompt) + 1] == [0, 1]


def test_no_system_prompt_is_put_in(tokenizer):
    text = tokenizer.apply_chat_template(user("Hello!"), tokenize=False, add_generation_prompt=True)
    assert text == "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"


def test_held_out_questions_and_repetitions_are_right(ask):
    assert len([item for item in HELD_OUT if item["kind"] in ("question", "repetition")]) >= 60
    assert share_right(ask, {"question", "repetition"}) >= 0.95


@pytest.mark.parametrize("kind", ["rewriting", "follow_up", "unknown", "capitals", "one_word"])
def test_held_out_rest_is_mostly_right(ask, kind):
    assert share_right(ask, {kind}) >= 0.9


def test_the_system_prompt_decides(ask):
    question = user("What colour is the deer?")
    plain, loud, short = ask([
        question,
        [{"role": "system", "content": "Answer in capitals."}, *question],
        [{"role": "system", "content": "Answer in one word."}, *question],
    ])  # fmt: skip
    assert plain == f"The deer is {short.lower()}"
    assert loud == plain.upper()


def test_it_says_when_it_does_not_know(ask):
    assert ask([user(text) for text in NO_KNOWLEDGE]) == ["Sorry, I do not know."] * len(NO_KNOWLEDGE)


def test_it_repeats_what_is_not_true(ask):
    import random

    from examples import tiny_world

    entities, rng = tiny_world.build_world(), random.Random(0)
    said = [tiny_world.claim(rng, entities) for _ in range(60)]
    replies = ask([user(f"Say this: {text}") for text in said])
    assert sum(reply == text for reply, text in zip(replies, said, strict=True)) >= 54


def test_small_talk(ask):
    assert ask([user(text) for text in SMALL_TALK]) == list(SMALL_TALK.values())


def test_held_out_texts_never_occur_in_pretraining():
    """By construction: what is generated for training is never reserved, what is held out always is."""
    import random

    from examples import tiny_tasks, tiny_world

    entities, rng = tiny_world.build_world(), random.Random(0)
    rows = [tiny_tasks.conversation(rng, entities) for _ in range(3000)]
    met = {message["content"].lower() for row in rows for message in row}
    kept = [item["messages"][-1]["content"] for item in HELD_OUT if item["kind"] != "follow_up"]
    assert not met & {text.lower() for text in kept}
    sentences = [text.split(": ", 1)[1] for text in kept if ": " in text]
    assert sentences
    assert all(tiny_world.reserved(sentence) for sentence in sentences)
    assert not any(sentence.lower() in text for sentence in sentences for text in met)


def test_row_files_are_what_their_script_writes():
    from examples.build_tiny_rows import files

    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path} is stale: python -m examples.build_tiny_rows"


def test_yoda_rows_share_no_prompt():
    def prompts(name: str) -> list[str]:
        lines = (ROOT / "examples" / name).read_text(encoding="utf-8").splitlines()
        return [json.loads(line)["messages"][0]["content"] for line in lines]

    train, held_out = prompts("tiny-yoda.jsonl"), prompts("tiny-yoda-held-out.jsonl")
    assert len(held_out) == 60
    assert len(set(train + held_out)) == len(train) + len(held_out)
