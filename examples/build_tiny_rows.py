"""Writes the texts that the bundled model never saw: `python -m examples.build_tiny_rows`.

tests/tiny_chat_held_out.json judges the model; tiny-yoda.jsonl and tiny-yoda-held-out.jsonl are the demo's rows.
Standard library only.
"""

import json
import random
from pathlib import Path
from typing import TypedDict

from examples import tiny_tasks as tasks
from examples import tiny_world as world
from examples.tiny_tasks import Conversation, Pair
from examples.tiny_world import Entity, Sentence

EXAMPLES = Path(__file__).parent
HELD_OUT = EXAMPLES.parent / "tests" / "tiny_chat_held_out.json"
YODA = EXAMPLES / "tiny-yoda.jsonl"
YODA_HELD_OUT = EXAMPLES / "tiny-yoda-held-out.jsonl"
SEED = 3
YODA_ROWS = 400
YODA_HELD_OUT_ROWS = 60


class HeldOut(TypedDict):
    """One thing to ask and the only right answer."""

    kind: str
    messages: Conversation
    answer: str


def held_out_item(kind: str, pairs: list[Pair], system: str = "") -> HeldOut:
    conversation = tasks.chat(pairs, system)
    return {"kind": kind, "messages": conversation[:-1], "answer": conversation[-1]["content"]}


def asked(rng: random.Random, entities: list[Entity], count: int) -> list[tuple[Entity, str, str, str]]:
    """(entity, attribute, question, answer): reserved phrasings of `count` entities."""
    options = [(e, *row) for e in entities for row in tasks.question_pairs(e, keep_reserved=True)]
    return rng.sample(options, count)


def follow_up_items(rng: random.Random, entities: list[Entity], count: int) -> list[HeldOut]:
    """A second question that says "it", "he" or "she", in a phrasing never met for this entity."""
    options = [
        held_out_item("follow_up", [(first, said), (second, world.statement(entity, attribute))])
        for entity in entities
        for _, first, said in tasks.question_pairs(entity, keep_reserved=True)[:1]
        for attribute in world.ATTRIBUTES[entity.kind]
        for second, key in world.follow_ups(entity, attribute)
        if world.reserved(key) and world.statement(entity, attribute) != said
    ]
    return rng.sample(options, count)


def held_out_list(seed: int = SEED) -> list[HeldOut]:
    rng, entities = random.Random(seed), world.build_world()
    items = [held_out_item("question", [(q, a)]) for _, _, q, a in asked(rng, entities, 40)]
    for _ in range(40):
        text = world.plain(tasks.allowed_sentence(rng, keep_reserved=True))
        items.append(held_out_item("repetition", [(rng.choice(tasks.SAY).format(s=text), text)]))
    items += [
        held_out_item("rewriting", [tasks.rewrite_pair(rng, kind, keep_reserved=True)])
        for kind in list(tasks.REWRITES) * 5
    ]
    items += follow_up_items(rng, entities, 16)
    items += [held_out_item("unknown", [tasks.unknown_pair(rng, entities, keep_reserved=True)]) for _ in range(20)]
    short = [row for row in asked(rng, entities, 60) if row[1] not in ("about", "habit")]
    for entity, attribute, question, answer in short[:12]:
        items.append(held_out_item("capitals", [(question, answer.upper())], rng.choice(tasks.CAPITALS)))
        items.append(
            held_out_item("one_word", [(question, world.one_word(entity, attribute))], rng.choice(tasks.ONE_WORD))
        )
    return items


def yoda_conversation(sentence: Sentence) -> Conversation:
    return tasks.chat([(f"Say this: {world.plain(sentence)}", world.object_first(sentence))])


def yoda_rows(seed: int = SEED) -> tuple[list[Conversation], list[Conversation]]:
    """(rows to learn from, held-out rows); no sentence twice, none met in pretraining or in the held-out list."""
    rng = random.Random(seed + 1)
    taken = {item["messages"][-1]["content"] for item in held_out_list(seed)}
    sentences: dict[str, Sentence] = {}
    while len(sentences) < YODA_ROWS + YODA_HELD_OUT_ROWS:
        sentence = tasks.allowed_sentence(rng, keep_reserved=True)
        if not any(world.plain(sentence) in prompt for prompt in taken):
            sentences.setdefault(world.plain(sentence), sentence)
    rows = [yoda_conversation(s) for s in sentences.values()]
    return rows[:YODA_ROWS], rows[YODA_ROWS:]


def jsonl(conversations: list[Conversation]) -> str:
    return "".join(json.dumps({"messages": c}, ensure_ascii=False) + "\n" for c in conversations)


def files() -> dict[Path, str]:
    """What each file holds; a test compares this with the disk."""
    train, held_out = yoda_rows()
    listed = "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in held_out_list()) + "\n]\n"
    return {HELD_OUT: listed, YODA: jsonl(train), YODA_HELD_OUT: jsonl(held_out)}


if __name__ == "__main__":
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(EXAMPLES.parent), len(text.encode()), "bytes")
