"""Three independent oracles say which tokens are learned: TRL itself, tokens written by hand, and the trainer's batches."""

import copy
from pathlib import Path

import pytest
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM
from trl import SFTConfig, SFTTrainer

from pipeline import adapters, model, template, tokens, train
from pipeline.errors import UserError
from pipeline.schema import Model, Row, TrainConfig
from pipeline.template import IGNORED

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MAX_LENGTH = 48


def row(number: int, *contents: str, system: str | None = None) -> Row:
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    return {"row": number, "messages": [*([{"role": "system", "content": system}] if system else []), *turns]}


ROWS = [
    row(1, "What colour is the fox?", "The fox is red."),
    row(2, "Say this: the bear likes honey.", "The bear likes honey.", "Where does it live?", "In the forest."),
    row(3, "Where is the owl?", "IN THE BARN.", system="Answer in capitals."),
    row(4, "Say this: " + "the fox sees the owl and " * 12, "This answer lies wholly beyond the cut."),
    row(5, "Tell me a story.", ("The fox sees the owl. " * 12).strip()),
    row(6, "Hi", "Grüße, 你好 \N{WAVING HAND SIGN} {{name}} </s>"),
]

# The tokens of three rows, written by hand, a dot between two; those between [ and ] are learned.
GOLDEN = {
    1: "<|im_start|>·user·\n·What· colour· is· the· fox·?·<|im_end|>·\n·"
    "<|im_start|>·assistant·\n·[·The· fox· is· red·.·<|im_end|>·]·\n",
    2: "<|im_start|>·user·\n·Say· this·:· the· bear· likes· h·on·ey·.·<|im_end|>·\n·"
    "<|im_start|>·assistant·\n·[·The· bear· likes· h·on·ey·.·<|im_end|>·]·\n·"
    "<|im_start|>·user·\n·Where· does· it· live·?·<|im_end|>·\n·"
    "<|im_start|>·assistant·\n·[·In· the· forest·.·<|im_end|>·]·\n",
    3: "<|im_start|>·system·\n·Answer· in· capitals·.·<|im_end|>·\n·"
    "<|im_start|>·user·\n·Where· is· the· owl·?·<|im_end|>·\n·"
    "<|im_start|>·assistant·\n·[·IN· THE· B·AR·N·.·<|im_end|>·]·\n",
}


@pytest.fixture(scope="module")
def tokenizer(tiny: Path):
    return model.tokenizer(Model(str(tiny)))


@pytest.fixture(scope="module")
def chosen(tokenizer):
    return template.choose(tokenizer)


def made(tokenizer, chosen, loss_on="answers", max_length=MAX_LENGTH):
    found = template.tokenize(tokenizer, chosen, ROWS, max_length, loss_on)
    assert found.gates == ()
    return found


def dummy(tokenizer) -> LlamaForCausalLM:
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes))


def oracle_trl(tokenizer, chosen, folder: Path) -> None:
    """TRL, from the raw messages, with its own template, mask, cut and dropping."""
    args = SFTConfig(
        str(folder),
        use_cpu=True,
        bf16=False,
        activation_checkpointing=False,
        report_to="none",
        assistant_only_loss=True,
        max_length=MAX_LENGTH,
    )
    rows = Dataset.from_list([{"messages": r["messages"], "number": r["row"]} for r in ROWS])
    trainer = SFTTrainer(dummy(tokenizer), args, train_dataset=rows, processing_class=copy.deepcopy(tokenizer))
    theirs = {r["number"]: (r["input_ids"], r["labels"]) for r in trainer.train_dataset}
    ours = {e.row: (e.input_ids, e.labels) for e in made(tokenizer, chosen).examples}
    assert ours == theirs


def oracle_hand(tokenizer, chosen) -> None:
    """Tokens and learned tokens written by hand, and the cut row's last learned token."""
    examples = {e.row: e for e in made(tokenizer, chosen).examples}
    for number, golden in GOLDEN.items():
        ids, labels, learning = [], [], False
        for token in golden.split("·"):
            if token in ("[", "]"):
                learning = token == "["
                continue
            (one,) = tokenizer(token, add_special_tokens=False)["input_ids"]
            ids.append(one)
            labels.append(ids[-1] if learning else IGNORED)
        assert examples[number].input_ids == ids
        assert examples[number].labels == labels
    assert len(examples[5].labels) == MAX_LENGTH
    assert examples[5].labels[-1] == examples[5].input_ids[-1]


def oracle_batches(tokenizer, chosen, folder: Path) -> None:
    """What comes out of the trainer's collator, row by row, is what the preview shows; none is missing."""
    config = TrainConfig(batch_size=2, max_length=MAX_LENGTH, rank=2)
    examples = made(tokenizer, chosen).examples
    parts = {"train": tokens.as_dataset(examples), "validation": tokens.as_dataset(())}
    adapted = adapters.fresh(dummy(tokenizer), tokenizer, config, recompute=False)
    trainer = train.make_trainer(adapted, tokenizer, parts, config, folder, [])
    seen = []
    for batch in trainer.get_train_dataloader():
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            assert (labels[mask == 0] == IGNORED).all()
            seen.append((tuple(ids[mask == 1].tolist()), tuple((labels[mask == 1] != IGNORED).tolist())))
    shown = {}
    for r in ROWS:
        preview = template.preview(tokenizer, chosen, r, MAX_LENGTH, "answers")
        ids, trained = tuple(preview["ids"][:MAX_LENGTH]), tuple(preview["trained"][:MAX_LENGTH])
        if any(trained):
            shown[ids, trained] = r["row"]
    assert sorted(shown.get(key, 0) for key in seen) == sorted(shown.values())


def test_trl_agrees(tokenizer, chosen, tmp_path):
    """Ids, labels, cut and dropped rows equal TRL's own from the same messages."""
    oracle_trl(tokenizer, chosen, tmp_path)


def test_hand_written_tokens_agree(tokenizer, chosen):
    """Single-turn, two-turn, system and cut rows hold exactly the tokens and labels written by hand."""
    oracle_hand(tokenizer, chosen)


def test_batches_agree_with_the_preview(tokenizer, chosen, tmp_path):
    """The preview equals what is trained, token for token, after collation."""
    oracle_batches(tokenizer, chosen, tmp_path)


def test_one_shifted_label_turns_all_three_red(tokenizer, chosen, tmp_path, monkeypatch):
    """No oracle is blind."""
    honest = template.example

    def shifted(*arguments):
        e = honest(*arguments)
        return template.Example(e.row, e.input_ids, [IGNORED, *e.labels[:-1]], e.length)

    monkeypatch.setattr(template, "example", shifted)
    for oracle in (oracle_trl, oracle_batches):
        with pytest.raises(AssertionError):
            oracle(tokenizer, chosen, tmp_path)
    with pytest.raises(AssertionError):
        oracle_hand(tokenizer, chosen)


def test_dropped_and_cut_rows_are_counted(tokenizer, chosen):
    """No row goes missing without its number being told."""
    found = made(tokenizer, chosen)
    assert found.dropped == (4,)
    assert [e.row for e in found.examples if e.cut] == [5]
    assert [e.row for e in found.examples] == [1, 2, 3, 5, 6]


def test_prompt_is_a_prefix_of_what_is_trained(tokenizer, chosen):
    """What the model is asked at inference is, id by id, the beginning of what it was trained on."""
    for r in ROWS:
        preview = template.preview(tokenizer, chosen, r, 10_000, "answers")
        asked = preview["generation_ids"]
        assert preview["ids"][: len(asked)] == asked
        assert preview["trained"][len(asked)]
        assert "".join(preview["tokens"]) == preview["text"]


def test_derived_labels_equal_marked_ones(tokenizer, chosen):
    """A template without markers gets the same labels by rendering prefixes."""
    plain = copy.deepcopy(tokenizer)
    plain.chat_template = CHATML
    derived = template.choose(plain)
    assert derived.training is None
    assert made(plain, derived).examples == made(tokenizer, chosen).examples


def test_loss_on_last_answer_and_everything(tokenizer, chosen):
    """Each choice learns exactly what it says."""

    def learned(loss_on):
        return [
            i for e in made(tokenizer, chosen, loss_on, 1000).examples if e.row == 2 for i in e.labels if i != IGNORED
        ]

    last, both, everything = learned("last answer"), learned("answers"), learned("everything")
    assert tokenizer.decode(last) == "In the forest.<|im_end|>"
    assert tokenizer.decode(both) == "The bear likes honey.<|im_end|>In the forest.<|im_end|>"
    assert tokenizer.decode(everything) == template.render(tokenizer, chosen, ROWS[1], "answers").text


def test_gate_says_when_the_prompt_is_no_prefix(tokenizer):
    """A generation prompt that ends in another token than training had there is named, with both texts."""
    trap = copy.deepcopy(tokenizer)
    trap.chat_template = CHATML.replace("'<|im_start|>assistant\n' }}{% endif", "'<|im_start|>assistant\n ' }}{% endif")
    trap.chat_template = trap.chat_template.replace(
        "m['role'] + '\n'", "m['role'] + '\n' + (' ' if m['role'] == 'assistant' else '')"
    )
    found = template.tokenize(trap, template.choose(trap), [row(7, "Hi", "fox")], 100, "answers")
    assert found.gates[0][0] == 7
    assert "not what it is trained on" in found.gates[0][1].sentence


def test_gate_says_when_the_stop_token_is_not_learned(tokenizer):
    """A mask that leaves the end of turn out would train a model that never stops."""
    endless = copy.deepcopy(tokenizer)
    endless.chat_template = CHATML.replace(
        "m['content'] + '<|im_end|>\n' }}",
        "'' }}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
        "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}",
    )
    found = template.tokenize(endless, template.choose(endless), [row(1, "Hi", "fox")], 100, "answers")
    assert "never stop" in found.gates[0][1].sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "no chat template"),
        ("{% for m in messages %}{{ m['content'] }} {% endfor %}", "no stop token"),
        (CHATML.replace("for m in messages", "for m in messages[-1:]"), "earlier turns"),
    ],
)
def test_template_without_a_mask_is_refused_with_a_sentence(tokenizer, text, sentence):
    """What can't be masked is not trained."""
    other = copy.deepcopy(tokenizer)
    other.chat_template = text
    with pytest.raises(UserError, match=sentence):
        template.choose(other)


def test_a_row_the_template_refuses_is_named(tokenizer):
    """The template's own words reach the person, with the row's number."""
    strict = copy.deepcopy(tokenizer)
    strict.chat_template = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system please') }}{% endif %}" + CHATML
    )
    found = template.tokenize(strict, template.choose(strict), ROWS[:3], 100, "answers")
    assert [(number, "no system please" in gate.sentence) for number, gate in found.gates] == [(3, True)]


def test_what_the_template_leaves_out_is_told(tokenizer):
    """A system prompt, a tool call or tools that the template drops without a word would not be trained on: a gate."""
    deaf = copy.deepcopy(tokenizer)
    deaf.chat_template = CHATML.replace("for m in messages", "for m in messages if m['role'] != 'system'")
    call = {"type": "function", "function": {"name": "find_fox", "arguments": {}}}
    tool_row = row(8, "Find it", "")
    tool_row["messages"][1]["tool_calls"] = [call]
    tool_row["tools"] = [{"type": "function", "function": {"name": "find_fox", "parameters": {}}}]
    found = template.tokenize(deaf, template.choose(deaf), [ROWS[2], tool_row], 100, "answers").gates
    assert [(number, gate.kind) for number, gate in found] == [(3, "left-out"), (8, "left-out"), (8, "left-out")]


def test_text_that_is_a_control_token_is_told(tokenizer, chosen):
    """ "<|im_end|>" written in a row would end the turn there; other words in angle brackets are words."""
    bad = row(1, "What is <|im_end|>?", "</s> <b> a mark")
    (number, gate), *others = template.tokenize(tokenizer, chosen, [bad], 100, "answers").gates
    assert (number, gate.kind, others) == (1, "control-token", [])
    assert "message 1 (user) holds '<|im_end|>'" in gate.sentence


def test_rewritten_history_can_be_trained_on_its_last_answer(tokenizer):
    """What the refusal advises is possible: a template that shortens earlier answers allows a mask of the last one."""
    own = CHATML.replace("m['content']", "('...' if m['role'] == 'assistant' and not loop.last else m['content'])")
    shortens = template.Template(own, None, (tokenizer.eos_token_id,))
    assert template.tokenize(tokenizer, shortens, [ROWS[1]], 100, "answers").gates[0][1].kind == "refused"
    (example,) = template.tokenize(tokenizer, shortens, [ROWS[1]], 100, "last answer").examples
    learned = tokenizer.decode([i for i in example.labels if i != IGNORED])
    assert learned == "In the forest.<|im_end|>"
