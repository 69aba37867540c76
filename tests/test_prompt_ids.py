"""A prompt's tokens, made of the row's it belongs to, are those it has by itself, whatever the kind of tokenizer."""

import random

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipeline import chat_templates, template
from pipeline.masks import Rendered

MARKS = ("<|im_start|>", "<|im_end|>", "</s>", "[NOTE]")
WORDS = ("The fox", " sleeps", "in the barn.", "\n", "  ", "Übung", "日本語", "don't", " 42", "<|im", "_end|>", "\n\n")
KINDS = {
    "bytes": (None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "bytes, a space before": (None, pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "metaspace, first": (None, pre_tokenizers.Metaspace(prepend_scheme="first")),
    "metaspace, always": (None, pre_tokenizers.Metaspace(prepend_scheme="always")),
    "Llama's old one": (normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None),
    "lower case, words": (normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]), pre_tokenizers.Whitespace()),
}  # fmt: skip


def made(kind: str, **flags: bool) -> PreTrainedTokenizerFast:
    normalizer, splits = KINDS[kind]
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    if normalizer:
        tokenizer.normalizer = normalizer
    if splits:
        tokenizer.pre_tokenizer = splits
    tokenizer.decoder = decoders.Fuse()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["[UNK]"], show_progress=False)
    tokenizer.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True, **flags) for mark in MARKS[:3]])
    tokenizer.add_tokens([AddedToken(MARKS[3], normalized=True)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]")


@pytest.mark.parametrize("flags", [{}, {"lstrip": True}, {"rstrip": True}, {"single_word": True}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_is_the_same_beside_its_row_and_alone(kind, flags):
    """Of random texts with marks in them, every beginning has the ids that the tokenizer itself gives it."""
    tokenizer, draw = made(kind, **flags), random.Random(7)
    splitting = chat_templates.splitting(tokenizer)
    assert splitting
    shared = 0
    for _ in range(40):
        text = "".join(draw.choices(MARKS + WORDS, k=14))
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        rendered = Rendered(text, list(encoded["input_ids"]), [], [], encoded["offset_mapping"])
        for end in draw.sample(range(1, len(text) + 1), 12):
            asked = template._ids_beside(tokenizer, text[:end], rendered, splitting)
            assert asked == tokenizer(text[:end], add_special_tokens=False)["input_ids"], (text, end)
            shared += any(mark in text[:end] for mark in MARKS[:3])
    assert shared > 100


def test_a_prompt_that_is_no_beginning_of_the_row_is_made_anew():
    """Where the row is written otherwise than its prompt, the prompt's own tokens are given."""
    tokenizer = made("bytes")
    encoded = tokenizer("<|im_start|>The fox", add_special_tokens=False, return_offsets_mapping=True)
    rendered = Rendered("<|im_start|>The fox", list(encoded["input_ids"]), [], [], encoded["offset_mapping"])
    other = "<|im_start|>in the barn."
    asked = template._ids_beside(tokenizer, other, rendered, chat_templates.splitting(tokenizer))
    assert asked == tokenizer(other, add_special_tokens=False)["input_ids"]
