"""What evaluation gains by its batches: `python -m tests.benchmarks.evaluate`, on the bundled model and its shipped run.

64 prompts on both sides through answering.all_of against one prompt at a time, in seconds of this process; token-identical.
"""

import sys
import tempfile
import time
from pathlib import Path

from tests import benchmarks

PROMPTS, LEAST_GAIN = 64, 3.0


def main() -> int:
    from pipeline import answering, dataset, example, generate, sides, template
    from pipeline.answering import Asked
    from pipeline.conversations import split_answer
    from pipeline.job import Job
    from pipeline.schema import Decoding

    run = example.install()
    pair, named, decoding = sides.open_trusted(run), sides.of_run(run), Decoding(max_new_tokens=40)
    rows = dataset.read_part(run, "held_out")
    rows = (rows * (1 + PROMPTS // len(rows)))[:PROMPTS]
    prompts = [
        template.prompt_ids(pair.tokenizer, pair.template, split_answer({"messages": row["messages"]})[0])
        for row in rows
    ]
    generate.of_columns(pair, {"base": prompts[:1], "tuned": prompts[:1]}, decoding)  # warm
    asked = [Asked(str(n), {"base": ids, "tuned": ids}) for n, ids in enumerate(prompts)]
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as place:
        found = answering.all_of(Job(run, "evaluate"), pair, named, asked, decoding, Path(place) / "answers.jsonl")
    together, begun = time.process_time() - begun, time.process_time()
    alone = [generate.of_columns(pair, {"base": [ids], "tuned": [ids]}, decoding) for ids in prompts]
    apart = time.process_time() - begun
    same = all(
        (each[column][0].text, each[column][0].tokens) == (together_[column].text, together_[column].tokens)
        for each, together_ in zip(alone, found, strict=True)
        for column in each
    )
    print(
        f"{PROMPTS} prompts, both sides: {together:.2f} s together, {apart:.2f} s one at a time, {apart / together:.1f}x"
    )
    bars = {f"at least {LEAST_GAIN:g}x": apart / together >= LEAST_GAIN, "token-identical": same}
    for bar, ok in bars.items():
        print(f"{'ok  ' if ok else 'OVER'} {bar}")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit("usage: python -m tests.benchmarks.evaluate")
    benchmarks.run(main)
