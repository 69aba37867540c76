"""What is computed about a training run: its precision, the time left, what its curve and its answers say in words."""

import math
from types import SimpleNamespace

import pytest

from pipeline import events, precision, samples, symptoms
from pipeline.errors import Refused
from pipeline.job import Job
from pipeline.methods import METHODS
from pipeline.progress import SCALER_PATIENCE, Pace, Progress, advice, times_left
from pipeline.samples import Answer
from pipeline.schema import TrainConfig

T4, L4, CPU = (7, 5), (8, 9), None


@pytest.mark.parametrize(
    ("capability", "family", "settings", "expected"),
    [
        (T4, "llama", {}, "float16"),
        (L4, "llama", {}, "bfloat16"),
        (CPU, "llama", {}, "float32"),
        (CPU, "llama", {"memory": "4-bit"}, "float32"),
        (CPU, "llama", {"memory": "16-bit"}, "bfloat16"),
        (T4, "llama", {"method": "qlora-4bit"}, "float16"),
        (T4, "llama", {"method": "qlora-8bit"}, "float16"),
        (T4, "llama", {"memory": "32-bit"}, "float32"),
        (T4, "llama", {"method": "full"}, "float16"),
        (L4, "llama", {"method": "last-layers"}, "bfloat16"),
        (T4, "llama", {"method": "full", "memory": "32-bit"}, "float32"),
        (CPU, "llama", {"method": "full"}, "float32"),
        (T4, "gemma3_text", {}, "float32"),
        (T4, "gemma3", {"method": "qlora-4bit"}, "float32"),
        (L4, "gemma3_text", {}, "bfloat16"),
    ],
)
def test_a_gpu_computes_in_what_it_has_and_the_model_bears(capability, family, settings, expected):
    """bfloat16 only where it is native, float16 on a T4 unless the family overflows in it, 32 bit where asked."""
    assert precision.computed(capability, family, TrainConfig(**settings)) == expected


@pytest.mark.parametrize("method", METHODS)
def test_every_method_computes_in_16_bit_on_a_t4(method):
    """None is left in 32 bit by oversight, which would take twice the memory and more than twice the time."""
    tokens = {"new_tokens": "<a>"} if method == "new-tokens" else {}
    assert precision.computed(T4, "llama", TrainConfig(method=method, **tokens)) == "float16"


def test_what_comes_at_intervals_is_counted_to_the_end():
    """Every multiple that is still ahead, and the last step once."""
    assert [times_left(step, 10, 4) for step in range(11)] == [3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 0]
    assert [times_left(step, 8, 4) for step in (0, 4, 7, 8)] == [2, 1, 1, 0]


def test_the_time_left_counts_looks_and_checkpoints():
    """Steps, looks and saves by what they took so far; before the first look, by what a look should take."""
    pace = Pace(look_steps=2, look_seconds=5, last=100.0)
    pace.mark("step", 110.0)
    pace.mark("step", 120.0)
    assert pace.left(3, 2, 1) == 3 * 10 + 2 * (5 + 2 * 10)
    pace.mark("look", 127.0)
    pace.mark("save", 128.0)
    assert pace.left(3, 2, 1) == 3 * 10 + 2 * 7 + 1
    assert pace.left(0, 0, 0) == 0


def looks(*losses: float) -> list[tuple[int, float]]:
    return [(10 * (place + 1), loss) for place, loss in enumerate(losses)]


def test_a_validation_loss_that_rises_three_times_is_learning_by_heart():
    """Three rises in a row are said with the best step; two, or a fall in between, are not."""
    said = symptoms.rising(looks(2, 1, 1.1, 1.2, 1.3))
    assert "by heart" in said
    assert "step 20 (1)" in said
    assert not symptoms.rising(looks(2, 1, 1.1, 1.2))
    assert not symptoms.rising(looks(1, 1.1, 1.0, 1.1, 1.2))
    assert not symptoms.rising(looks(1, 1, 1, 1, 1))


def test_a_loss_three_times_its_best_explodes():
    """One bad batch does not, a falling curve does not, and three times almost nothing is almost nothing."""
    falling = [3 - step / 10 for step in range(20)]
    assert not symptoms.exploding(falling)
    assert not symptoms.exploding([*falling, 6.0])
    assert "explodes" in symptoms.exploding([*falling, 6.0, 6.0, 6.0, 6.0, 6.0])
    assert not symptoms.exploding([0.01] * 10 + [0.05] * 5)
    assert not symptoms.exploding([1.0, 9.0])


def test_more_than_ten_times_the_same_rows_is_called_what_it_is():
    """Ten epochs are not, eleven are; what counts is what will be done, not what the epochs say."""
    assert not symptoms.repeating(steps=100, batch=10, rows=100)
    assert "11 times" in symptoms.repeating(steps=110, batch=10, rows=100)


def test_patience_counts_looks_without_a_better_loss():
    """A better one begins the count anew, and looks before a run was made longer are forgiven."""
    assert [symptoms.stale(looks(*losses)) for losses in ((3, 2), (3, 2, 2), (3, 2, 2, 3, 2.5), (3, 2, 3, 1))] == [
        0,
        1,
        3,
        0,
    ]
    assert symptoms.stale(looks(3, 2, 2, 3, 2.5), since=30) == 2
    assert symptoms.stale(looks(3, math.nan, math.nan)) == 2


def told(tmp_path, computed: str, *logs: dict[str, float]) -> list[events.Event]:
    """What a Progress says to these logs of steps 1, 2, 3..."""
    progress = Progress(Job(tmp_path, "train"), TrainConfig(), computed)
    args = SimpleNamespace(eval_strategy="steps")
    control = SimpleNamespace(should_evaluate=False, should_save=False)
    for step, log in enumerate(logs, 1):
        state = SimpleNamespace(global_step=step, max_steps=99, eval_steps=9, save_steps=9, log_history=[log])
        progress.on_log(args, state, control, dict(log))
    return events.since(tmp_path / "events.jsonl", 0)[0]


GOOD, SKIPPED = {"loss": 2.0, "grad_norm": 1.0}, {"loss": 2.0, "grad_norm": math.inf}


def test_a_grad_scaler_may_overflow_while_it_measures(tmp_path):
    """In float16 a few infinite gradients are skipped steps, told without that number; ten in a row are no training."""
    few = [SKIPPED] * (SCALER_PATIENCE - 1)
    found = told(tmp_path, "float16", *few, GOOD, *few)
    assert len(found) == len(few) * 2 + 1
    assert [("grad_norm" in event.values) for event in found[:9]] == [False] * 9
    with pytest.raises(Refused, match=r"gradient is inf at step 10.*2e-05.*32-bit"):
        told(tmp_path, "float16", *[SKIPPED] * SCALER_PATIENCE)


@pytest.mark.parametrize("computed", ["bfloat16", "float32"])
def test_without_a_scaler_an_infinite_gradient_is_refused_at_once(tmp_path, computed):
    """It would be put into the weights."""
    with pytest.raises(Refused, match="gradient is inf at step 2"):
        told(tmp_path, computed, GOOD, SKIPPED)


def test_a_loss_that_is_no_number_is_refused_in_every_precision(tmp_path):
    """At the first step it is the base's fault, later the learning rate's."""
    for computed in ("float32", "float16"):
        with pytest.raises(Refused, match="step 1: nothing was learned yet"):
            told(tmp_path, computed, {"loss": math.nan, "grad_norm": math.nan})
        with pytest.raises(Refused, match=r"step 2: .*learning rate ten times smaller"):
            told(tmp_path, computed, GOOD, {"loss": math.nan, "grad_norm": math.nan})
    assert "memory 32-bit" in advice(1, "float16", 1e-3)
    assert "damaged" in advice(1, "float32", 1e-3)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer("The door is open.", (5, 6, 7, 8, 9), True), ""),
        (Answer(" \n", (1,), True), "empty"),
        (Answer("", (), True), "empty"),
        (Answer("no " * 30, (7,) * 30, False), "one word over and over"),
        (Answer("no no", (7, 7), True), ""),
        (Answer("caf\ufffd bar", (1, 2, 3), True), "broken characters"),
        (Answer("cut in a character\ufffd", tuple(range(40)), False), "without an end"),
    ],
)
def test_a_broken_answer_is_known_by_itself(answer, expected):
    """Whatever was asked."""
    assert samples.complaint(answer) == expected


def test_answers_are_complained_about_together():
    """One that rambles is no news, most of them are; plain text may go on for ever."""
    good, endless = Answer("Fine.", (1, 2), True), Answer("on and on", tuple(range(9)), False)
    assert samples.verdict([good, good, endless]) == ""
    assert "3 without an end" in samples.verdict([good, endless, endless, endless])
    assert samples.verdict([endless] * 3, endless=False) == ""
    assert "1 empty" in samples.verdict([good, good, Answer("", (), True)])
