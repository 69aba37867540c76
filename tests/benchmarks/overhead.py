"""What telling costs a training: `python -m tests.benchmarks.overhead [STEPS]`. Prints PASS or FAIL.

One trainer, whose steps are told as the app tells them (events, stop requests, time left) in turns with steps that are
not: the medians of both, of the same batches in one process, so that a busy machine slows them alike. The bundled model,
whose steps are short, and one of 4 layers, 512 wide. No samples, no looks, no checkpoints.
"""

import statistics
import time
from typing import Any

import datasets

from pipeline import model, train
from pipeline.job import Job
from pipeline.progress import Progress
from pipeline.schema import Model, TrainConfig
from tests.benchmarks import run
from tests.benchmarks.train import TINY, adapted
from tests.conftest import new_run

MOST = 0.02  # of a step's time
WARM = 6  # steps that are not measured
ROWS, LENGTH = 8, 128


class Turns(Progress):
    """Tells every other step, and notes how long each took from its begin to the next one's, and its callbacks alone."""

    def __init__(self, *asked: Any) -> None:
        super().__init__(*asked)
        self.begun: list[float] = []
        self.telling: dict[int, float] = {}

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.begun.append(time.perf_counter())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.turn(super().on_step_end, args, state, control, kwargs)

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.turn(super().on_log, args, state, control, kwargs)

    def turn(self, callback: Any, args: Any, state: Any, control: Any, kwargs: dict[str, Any]) -> None:
        if state.global_step % 2 and state.global_step < state.max_steps:
            begun = time.thread_time()
            callback(args, state, control, **kwargs)
            spent = time.thread_time() - begun
            self.telling[state.global_step] = self.telling.get(state.global_step, 0.0) + spent

    def found(self) -> dict[str, float]:
        """Seconds of a silent step, the share that telling adds, and the share that the callbacks themselves take."""
        took = [after - before for before, after in zip(self.begun, self.begun[1:], strict=False)]
        told, silent = took[WARM::2], took[WARM + 1 :: 2]  # took[0] is step 1, which is told
        step = statistics.median(silent)
        callbacks = statistics.median(list(self.telling.values())[WARM // 2 :])
        return {"step": step, "added": statistics.median(told) / step - 1, "callbacks": callbacks / step}


def measure(name: str, steps: int) -> dict[str, float]:
    folder = new_run(TINY, rows=48)
    config = TrainConfig(
        batch_size=ROWS, micro_batch=ROWS, epochs=steps / 4, eval_steps=10**6, save_steps=10**6, samples=0,
        max_length=LENGTH, learning_rate=1e-3,
    )  # fmt: skip
    row = {"row": 1, "input_ids": [5 + n % 100 for n in range(LENGTH)], "labels": [5 + n % 100 for n in range(LENGTH)]}
    parts = datasets.DatasetDict(
        train=datasets.Dataset.from_list([{**row, "row": number} for number in range(ROWS * 4)]),
        validation=datasets.Dataset.from_list([]),
    )
    tokenizer, _ = model.tokenizer_and_template(Model(str(TINY)))
    turns = Turns(Job(folder, "train"), config)
    trainer = train.make_trainer(adapted(name), tokenizer, parts, config, folder, [turns])
    trainer.args.save_strategy = "no"
    trainer.train()
    return turns.found()


def main(steps: int = 200) -> int:
    passed = True
    for name in ("bundled", "32,000"):
        found = measure(name, steps if name == "bundled" else steps // 4)
        ok = found["added"] <= MOST
        passed &= ok
        print(
            f"{name:10} step {1000 * found['step']:8.1f} ms   telling adds {found['added']:7.2%}   "
            f"(CPU of the callbacks {found['callbacks']:.2%})   {'ok' if ok else 'OVER'} (bar {MOST:.0%})"
        )
    print("PASS" if passed else "FAIL")
    return 0 if passed else 1


if __name__ == "__main__":
    run(main)
