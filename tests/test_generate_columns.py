"""Columns answer together as they do alone: same tokens, no row costs anything once it ended, nothing is left behind."""

import dataclasses
import threading
import time
from pathlib import Path

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList

from pipeline import dataset, generate, kv_cache, sampling, sides, switch, template
from pipeline.errors import UserError
from pipeline.generate import Answer
from pipeline.schema import Decoding

LONG = Decoding(max_new_tokens=90)
HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def pair(trained_run: Path):
    return sides.open_pair(sides.of_run(trained_run))


@pytest.fixture(scope="module")
def prompts(pair, trained_run):
    """Held-out rows, whose prompts and answers are of different lengths."""
    rows = dataset.read_part(trained_run, "held_out")
    return [template.row_prompt(pair.tokenizer, pair.template, row) for row in rows]


@pytest.fixture(scope="module")
def both(pair, prompts):
    return generate.of_columns(pair, {"base": prompts, "tuned": prompts}, LONG)


def endless(pair):
    return dataclasses.replace(pair, template=dataclasses.replace(pair.template, stop_ids=(10**6,)))


def said(answers):
    return [(answer.text, answer.tokens, answer.stopped) for answer in answers]


def hooks(pair):
    return [m for m in pair.adapted.modules() if m._forward_hooks or m._forward_pre_hooks]


def alone(pair, column, prompt):
    """The token ids of an answer as transformers gives it for one prompt, with nothing of ours but the adapter's switch."""
    ids = torch.tensor([prompt])
    with switch.only(pair.adapted, pair.adapter(column)):
        found = pair.adapted.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=LONG.max_new_tokens, do_sample=False,
            eos_token_id=list(pair.template.stop_ids), pad_token_id=pair.tokenizer.pad_token_id,
        )  # fmt: skip
    return found[0, len(prompt) :].tolist()


def test_a_batch_answers_token_for_token_as_one_prompt_at_a_time(pair, prompts, both):
    """Greedy, in 32 bit: every row of the mixed batch says what transformers says for it alone, though others ended before."""
    assert len({answer.tokens for answers in both.values() for answer in answers}) > 3
    for column, answers in both.items():
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = alone(pair, column, prompt)
            expected = pair.tokenizer.decode(ids, skip_special_tokens=True)
            assert (answer.text, answer.tokens) == (expected, len(ids))
            assert answer.stopped == (ids[-1] in pair.template.stop_ids)


def test_answers_longer_than_the_cache_made_room_for(pair, prompts):
    """Room is made again and again, and the answer is still the one that transformers gives."""
    without_end = endless(pair)
    (answer,) = generate.of_columns(without_end, {"tuned": prompts[:1]}, LONG)["tuned"]
    expected = alone(without_end, "tuned", prompts[0])
    assert answer.tokens == len(expected) == 90 > kv_cache.AHEAD
    assert answer.text == pair.tokenizer.decode(expected, skip_special_tokens=True)


def test_any_columns_answer(pair, prompts, both):
    """One alone says what it says beside the other, of as many prompts as it is given; none of none; unknown ones are refused."""
    for column in ("base", "tuned"):
        assert said(generate.of_columns(pair, {column: prompts[:3]}, LONG)[column]) == said(both[column][:3])
    uneven = generate.of_columns(pair, {"tuned": prompts[:3], "base": prompts[1:2]}, LONG)
    assert said(uneven["tuned"]) == said(both["tuned"][:3])
    assert said(uneven["base"]) == said(both["base"][1:2])
    assert generate.of_columns(pair, {"base": [], "tuned": []}, LONG) == {"base": [], "tuned": []}
    with pytest.raises(UserError, match="no column 'other'"):
        generate.of_columns(pair, {"other": prompts[:1]}, LONG)


def test_rows_that_ended_cost_nothing_more(pair, prompts, both):
    """The model computes a third more rows than there are tokens at most, where all rows to the end would be more."""
    computed = []
    watch = pair.adapted.get_input_embeddings().register_forward_hook(lambda m, a, o: computed.append(len(o)))
    try:
        generate.of_columns(pair, {"base": prompts, "tuned": prompts}, LONG)
    finally:
        watch.remove()
    lengths = [answer.tokens for answers in both.values() for answer in answers]
    assert sum(computed) < 4 / 3 * sum(lengths)
    assert len(lengths) * max(lengths) > 1.4 * sum(lengths)


def test_a_token_does_not_copy_those_before_it(pair, prompts):
    """Keys of one token more are the beginning of the same tensor."""
    ids = torch.tensor([prompts[0]])
    cache = kv_cache.fresh(pair.adapted, 200)
    with torch.no_grad():
        pair.adapted(input_ids=ids, past_key_values=cache, use_cache=True)
        before = cache.layers[0].keys.clone(), cache.layers[0].keys.data_ptr()
        pair.adapted(input_ids=ids[:, :1], past_key_values=cache, use_cache=True)
    keys = cache.layers[0].keys
    assert keys.shape[-2] == ids.shape[1] + 1
    assert keys.data_ptr() == before[1]
    assert torch.equal(keys[..., :-1, :], before[0])


def test_stop_is_seen_within_a_token(pair, prompts, monkeypatch):
    """With a model that takes its time: one token more at most, together and in turn."""
    slow = pair.adapted.get_input_embeddings().register_forward_hook(lambda *_: time.sleep(0.02))
    try:
        for mode in ("mixed", "in turn"):
            stop, pieces = threading.Event(), []

            def told(column, piece, stop=stop, pieces=pieces):
                pieces.append(column)
                if len(pieces) == 9:
                    stop.set()

            without_end = dataclasses.replace(endless(pair), mode=mode)
            asked = {"base": prompts[:1], "tuned": prompts[:1]}
            found = generate.of_columns(without_end, asked, Decoding(300), stop, told)
            assert stop.is_set()
            assert not any(answer.stopped for (answer,) in found.values())
            last = found["tuned" if "tuned" in pieces else "base"][0]
            assert last.tokens <= pieces.count("tuned" if "tuned" in pieces else "base") + 2
            assert (found["tuned"][0].tokens == 0) == (mode == "in turn")
    finally:
        slow.remove()


def test_an_exception_inside_generation_leaves_nothing_behind(pair, prompts, both, monkeypatch):
    """Whatever breaks in the middle of an answer, the next one is as before and no hook stays in the model."""

    class Breaks(LogitsProcessor):
        calls = 0

        def __call__(self, input_ids, scores):
            self.calls += 1
            if self.calls == 4:
                raise FloatingPointError("broken on purpose")
            return scores

    for mode in ("mixed", "in turn"):
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "processors", lambda decoding: LogitsProcessorList([Breaks()]))
            with pytest.raises(FloatingPointError):
                list(generate.stream(dataclasses.replace(pair, mode=mode), {"base": HELLO, "tuned": HELLO}, LONG))
        assert not hooks(pair)
        again = generate.of_columns(pair, {"base": prompts[:2], "tuned": prompts[:2]}, LONG)
        assert {column: said(answers) for column, answers in again.items()} == {
            column: said(answers[:2]) for column, answers in both.items()
        }


def test_the_first_token_is_timed(both):
    """Before the last one, together on both sides; answers that were kept before it was are read as they are."""
    for answers in both.values():
        assert all(0 < answer.first <= answer.seconds for answer in answers)
        assert any(answer.first < answer.seconds / 2 for answer in answers)
    firsts = [answer.first for answers in both.values() for answer in answers]
    assert max(firsts) - min(firsts) < min(firsts)
    assert Answer(**{"text": "a", "tokens": 1, "seconds": 0.1, "stopped": True}).first == 0


def test_a_growing_answer_is_cut_between_tokens(pair, prompts):
    """A limit of n tokens is the first n tokens of the longer answer."""
    without_end = endless(pair)
    for limit in (1, 7):
        (answer,) = generate.of_columns(without_end, {"base": prompts[:1]}, Decoding(limit))["base"]
        expected = alone(without_end, "base", prompts[0])[:limit]
        assert (answer.tokens, answer.text) == (limit, pair.tokenizer.decode(expected, skip_special_tokens=True))
