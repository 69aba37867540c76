"""Base and tuned from one copy of the weights: which side is which is proven, and seen to be proven."""

import dataclasses
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline import generate, sampling, self_test, sides, switch, template
from pipeline.errors import UserError
from pipeline.generate import Answer
from pipeline.schema import Decoding

ASKED = ["Say this: the fox likes the barn.", "What colour is the bear?", "Hello", "Where is the owl? And the cat?"]
GREEDY = Decoding(max_new_tokens=24)


@pytest.fixture(scope="module")
def pair(trained_run: Path):
    return sides.open_pair(sides.of_run(trained_run))


@pytest.fixture(scope="module")
def prompts(pair):
    return [template.prompt_ids(pair.tokenizer, pair.template, [{"role": "user", "content": text}]) for text in ASKED]


def opened(run: Path, adapter: Path):
    return sides.open_pair(dataclasses.replace(sides.of_run(run), adapter=str(adapter)))


def changed(adapter: Path, to: Path, change) -> Path:
    """A copy of an adapter whose tensors went through `change`."""
    shutil.copytree(adapter, to)
    save_file(change(load_file(to / "adapter_model.safetensors")), to / "adapter_model.safetensors", {"format": "pt"})
    return to


def texts(answers):
    return [(base.text, tuned.text) for base, tuned in answers]


def test_self_test_passes_on_a_trained_adapter(pair):
    """A trained LoRA is mixed, both sides are what they say, and they differ."""
    assert pair.mode == "mixed"
    assert pair.trusted
    assert all(check.ok for check in pair.self_test.values())


def test_mixed_batch_equals_one_side_at_a_time(pair, prompts):
    """Greedy answers of the mixed batch are those of base and tuned generated apart, prompt by prompt."""
    apart = dataclasses.replace(pair, mode="in turn")
    alone = [generate.answers(apart, [p], GREEDY)[0] for p in prompts]
    assert texts(generate.answers(pair, prompts, GREEDY)) == texts(alone)


def test_base_side_is_the_untouched_base(pair, prompts, trained_run):
    """The base's answers are those of a base that never saw an adapter."""
    from pipeline import model

    bare = model.base(dataclasses.replace(sides.of_run(trained_run), adapter=None))
    for prompt, (base, _) in zip(prompts, generate.answers(pair, prompts, GREEDY), strict=True):
        ids = torch.tensor([prompt])
        alone = bare.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=24,
            do_sample=False,
            eos_token_id=list(pair.template.stop_ids),
        )
        assert base.text == pair.tokenizer.decode(alone[0, len(prompt) :], skip_special_tokens=True)


def test_sabotaged_switch_turns_the_mark_red_and_is_not_used(trained_run, prompts, pair, monkeypatch):
    """If the base rows secretly ran the adapter, the self-test sees it and the sides are generated in turn."""
    honest = self_test.logits

    def sabotaged(loaded, batch, **options):
        if "adapter_names" in options:
            options["adapter_names"] = [sides.ADAPTER] * len(options["adapter_names"])
        return honest(loaded, batch, **options)

    monkeypatch.setattr(self_test, "logits", sabotaged)
    probe = sides.pad_left(prompts, pair.tokenizer, pair.adapted.device)
    with pair.adapted.disable_adapter():
        bare = honest(pair.adapted, probe)
    assert not self_test.measure(pair.adapted, probe, bare, "mixed")["base_is_base"].ok
    other = sides.open_pair(sides.of_run(trained_run))
    assert other.mode == "in turn"
    assert other.trusted
    assert texts(generate.answers(other, prompts, GREEDY)) == texts(generate.answers(pair, prompts, GREEDY))


def test_base_that_is_not_the_base_is_red_in_every_mode(pair, prompts):
    """If switching the adapter off left something behind, no mode is trusted."""
    probe = sides.pad_left(prompts, pair.tokenizer, pair.adapted.device)
    with pair.adapted.disable_adapter():
        bare = sides.logits(pair.adapted, probe)
    for mode in ("mixed", "in turn"):
        assert self_test.measure(pair.adapted, probe, bare, mode)["base_is_base"].ok
        assert not self_test.measure(pair.adapted, probe, bare + 1e-3, mode)["base_is_base"].ok


def test_adapter_that_changes_nothing_is_its_own_result(trained_run, tmp_path):
    """All zeros: nothing is wrong with the sides, and it is said that they do not differ."""
    zero = changed(trained_run / "adapter", tmp_path / "zero", lambda t: {k: torch.zeros_like(v) for k, v in t.items()})
    found = opened(trained_run, zero)
    assert found.trusted
    assert not found.self_test["tuned_differs"].ok


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {k.replace("q_proj", "qkv_proj"): v for k, v in t.items()},
        lambda t: dict(list(t.items())[2:]),
        lambda t: {k: v[..., :-1].contiguous() for k, v in t.items()},
    ],
    ids=["other layer names", "tensors missing", "other shapes"],
)
def test_adapter_that_does_not_fit_is_refused(trained_run, tmp_path, change):
    """Half an adapter is another model: nothing is loaded."""
    with pytest.raises(UserError, match=r"belongs to another model|does not fit"):
        opened(trained_run, changed(trained_run / "adapter", tmp_path / "other", change))


def test_streamed_pieces_are_the_answers(pair):
    """Pieces of both sides come interleaved and add up to the answers' texts."""
    messages = [{"role": "user", "content": ASKED[0]}]
    streamed, final, order = {"base": "", "tuned": ""}, {}, []
    for side, piece in generate.stream(pair, {"base": messages, "tuned": messages}, GREEDY):
        if isinstance(piece, Answer):
            final[side] = piece
        else:
            streamed[side] += piece
            order.append(side)
    assert streamed == {side: answer.text for side, answer in final.items()}
    assert order[:2] == ["base", "tuned"]
    assert all(answer.stopped and answer.tokens > 1 for answer in final.values())


def test_stop_ends_generation_and_leaves_no_hooks(pair, prompts):
    """Stopping takes effect within a token, and the next answers are as before."""
    endless = dataclasses.replace(pair, template=dataclasses.replace(pair.template, stop_ids=(10**6,)))
    before = texts(generate.answers(pair, prompts, GREEDY))
    stop, begun = threading.Event(), time.monotonic()
    hello = [{"role": "user", "content": "Hello"}]
    pieces = generate.stream(endless, {"base": hello, "tuned": hello}, Decoding(400), stop)
    for count, (_, piece) in enumerate(pieces):
        if count == 6:
            stop.set()
        if isinstance(piece, Answer):
            assert piece.tokens < 100
            assert not piece.stopped
    assert time.monotonic() - begun < 20
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in pair.adapted.modules())
    assert texts(generate.answers(pair, prompts, GREEDY)) == before


def test_sampling_draws_the_same_in_any_batch(pair, prompts):
    """Same seed, same answer: mixed or in turn, alone or among others; another seed, another answer."""
    warm = Decoding(max_new_tokens=24, temperature=1.5, seed=7)
    together = texts(generate.answers(pair, prompts, warm))
    apart = dataclasses.replace(pair, mode="in turn")
    assert together == [texts(generate.answers(apart, [p], warm))[0] for p in prompts]
    assert together != texts(generate.answers(pair, prompts, dataclasses.replace(warm, seed=8)))


def test_sampling_follows_the_distribution():
    """The Gumbel-max trick draws each token as often as its probability says, and never one outside top-p."""
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.15, 0.05]]))
    draws = torch.zeros(4)
    for seed in range(4000):
        draws[sampling.SharedNoise(seed)(None, logits.repeat(2, 1))[1].argmax()] += 1
    assert draws / 4000 == pytest.approx(torch.tensor([0.5, 0.3, 0.15, 0.05]), abs=0.03)
    narrow = sampling.processors(Decoding(temperature=1, top_p=0.7, seed=1))(None, logits)
    assert torch.isinf(narrow[0, 2:]).all()


def test_limit_and_context_are_told(pair, prompts):
    """An answer that hit the limit says so; a prompt that leaves no room is refused with numbers."""
    assert not any(a.stopped for both in generate.answers(pair, prompts[:1], Decoding(2)) for a in both)
    context = pair.adapted.config.max_position_embeddings
    with pytest.raises(UserError, match=f"{context + 5} tokens.*reads {context}"):
        generate.answers(pair, [[5] * (context + 5)], GREEDY)


def test_only_plain_lora_is_mixed():
    """Kinds that raise, or give the tuned answer on the base rows, are never mixed."""
    from peft import IA3Config, LoraConfig, VeraConfig

    assert switch.can_mix(LoraConfig(r=4))
    for other in (
        LoraConfig(use_dora=True),
        LoraConfig(init_lora_weights="pissa"),
        LoraConfig(init_lora_weights="olora"),
        LoraConfig(target_parameters=["w"]),
        IA3Config(),
        VeraConfig(),
    ):
        assert not switch.can_mix(other)


def test_changed_base_is_refused(trained_run, tmp_path):
    """An adapter is only judged on the base it was trained on."""
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    base = (run / "base.json").read_text()
    (run / "base.json").write_text(base.replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(UserError, match="has changed since"):
        sides.of_run(run)


def test_model_that_can_not_mix_answers_in_turn():
    """OPT lays the rows of a batch end to end in its layers, where PEFT refuses; no hook is left, and both sides answer."""
    from peft import LoraConfig, get_peft_model
    from transformers import OPTConfig, OPTForCausalLM

    sizes = {"hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    adapted = get_peft_model(
        OPTForCausalLM(OPTConfig(vocab_size=64, word_embed_proj_dim=16, **sizes)).eval(),
        LoraConfig(target_modules="all-linear", init_lora_weights=False),
    ).eval()
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    probe = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with adapted.disable_adapter():
        bare = sides.logits(adapted, probe)
    mode, checks = self_test.proven(adapted, probe, bare)
    assert mode == "in turn"
    assert all(check.ok for check in checks.values())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in adapted.modules())


@pytest.mark.parametrize("content", [None, b"", b"half"])
def test_damaged_adapter_is_a_sentence(trained_run, tmp_path, content):
    """A file that is gone, empty or cut off is told with what to do."""
    adapter = Path(shutil.copytree(trained_run / "adapter", tmp_path / "adapter"))
    file = adapter / "adapter_model.safetensors"
    file.unlink() if content is None else file.write_bytes(content)
    with pytest.raises(UserError, match="restore it, or train again"):
        opened(trained_run, adapter)
