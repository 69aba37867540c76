"""The template a person chooses: what each writes and learns, what a pasted one may not do, and what every gate says."""

import copy
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline import (
    adapters,
    chat_templates,
    dataset,
    evaluate,
    jobs,
    masks,
    model,
    rendering,
    sides,
    template,
    tokens,
    train,
)
from pipeline.errors import UserError
from pipeline.job import Job
from pipeline.schema import Model, Row, Run, Source, TrainConfig
from pipeline.template import IGNORED

PRESETS = ("chatml", "instruction", "phi-2", "plain")
PASTED = (
    "{% for m in messages %}{{ m['role'] + ':' + ' ' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
)
TALK: Row = {
    "row": 1,
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "What colour is the fox?"},
        {"role": "assistant", "content": "The fox is red."},
        {"role": "user", "content": "And the owl?"},
        {"role": "assistant", "content": "Brown."},
    ],
}
TRAINED = {  # written by hand; what stands between [ and ] is learned
    "chatml": "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nWhat colour is the fox?<|im_end|>\n"
    "<|im_start|>assistant\n[The fox is red.<|im_end|>]\n<|im_start|>user\nAnd the owl?<|im_end|>\n"
    "<|im_start|>assistant\n[Brown.<|im_end|>]\n",
    "instruction": "Be short.\n\n### Instruction:\nWhat colour is the fox?\n\n### Response:\n[The fox is red.<|im_end|>]\n\n"
    "### Instruction:\nAnd the owl?\n\n### Response:\n[Brown.<|im_end|>]",
    "phi-2": "Be short.\nInstruct: What colour is the fox?\nOutput:[ The fox is red.<|im_end|>]\n"
    "Instruct: And the owl?\nOutput:[ Brown.<|im_end|>]",
    "plain": "Be short.\n\nWhat colour is the fox?\n\n[The fox is red.<|im_end|>]\n\nAnd the owl?\n\n[Brown.<|im_end|>]",
    PASTED: "system: Be short.<|im_end|>\nuser: What colour is the fox?<|im_end|>\nassistant:[ The fox is red.<|im_end|>]\n"
    "user: And the owl?<|im_end|>\nassistant:[ Brown.<|im_end|>]\n",
}


def chosen(tiny: Path, name: str):
    return model.tokenizer_and_template(Model(str(tiny), template=name))


def other(tiny: Path, change):
    """The bundled tokenizer after a change that other models' tokenizers come with."""
    tokenizer = copy.deepcopy(model.tokenizer(Model(str(tiny))))
    change(tokenizer)
    return tokenizer


def talk(*contents: str, system: str | None = None, number: int = 1) -> Row:
    turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(contents)]
    return {"row": number, "messages": [*([{"role": "system", "content": system}] if system else []), *turns]}


def shown(preview) -> str:
    """The text with [ and ] around what is learned."""
    found, learning = "", False
    for piece, trained in zip(preview["tokens"], preview["trained"], strict=True):
        found += ("[" if trained else "]") * (trained != learning) + piece
        learning = trained
    return found + "]" * learning


def last_only(text: str) -> str:
    head, _, tail = text.rpartition("[")
    return head.replace("[", "").replace("]", "") + "[" + tail


@pytest.mark.parametrize("name", TRAINED, ids=lambda name: name[:12])
def test_each_template_learns_what_is_written_by_hand(tiny, name):
    """Answers, last answer and everything, for every preset and a pasted template; no gate has anything to say."""
    tokenizer, found = chosen(tiny, name)
    whole = TRAINED[name].replace("[", "").replace("]", "")
    wanted = {"answers": TRAINED[name], "last answer": last_only(TRAINED[name]), "everything": f"[{whole}]"}
    for loss_on, text in wanted.items():
        preview = template.preview(tokenizer, found, TALK, 1000, loss_on)
        assert (shown(preview), preview["gates"]) == (text, [])


@pytest.mark.parametrize("name", TRAINED, ids=lambda name: name[:12])
@pytest.mark.parametrize("begin", [False, True])
def test_what_is_asked_is_the_beginning_of_what_is_trained(tiny, name, begin):
    """With and without a system message, one turn and two, for tokenizers that begin a text by themselves or don't."""

    def begins(tokenizer):
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )

    from tokenizers import processors

    tokenizer = other(tiny, begins if begin else lambda _: None)
    chat_templates.put_on(tokenizer, name)
    found = template.choose(tokenizer, pasted=name == PASTED)
    for row in (talk("Hi", "Fox."), talk("Hi", " Fox.\n", system="Say it."), talk("Hi", "\nFox.", "So?", "Owl.")):
        preview = template.preview(tokenizer, found, row, 1000, "answers")
        asked = preview["generation_ids"]
        if name != PASTED:
            assert preview["gates"] == []
            assert (preview["ids"][0] == tokenizer.bos_token_id) == begin
        assert preview["ids"][: len(asked)] == asked
        assert preview["trained"][len(asked)]
        assert preview["ids"].count(tokenizer.eos_token_id) >= preview["text"].count("Fox")
        last = max(i for i, trained in enumerate(preview["trained"]) if trained)
        assert preview["ids"][last] == tokenizer.eos_token_id


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_published_writes_what_was_trained(tiny, name):
    """The template saved with the tokenizer has no marks and gives the same text in any other program."""
    tokenizer, found = chosen(tiny, name)
    assert "generation -" not in tokenizer.chat_template
    assert found.own == tokenizer.chat_template
    assert found.training != found.own
    theirs = tokenizer.apply_chat_template(TALK["messages"], tokenize=False)
    assert theirs == template.preview(tokenizer, found, TALK, 1000, "answers")["text"]


def test_a_model_without_a_template_names_the_choices(tiny):
    """ "own" is refused where there is none, with what can be chosen; each of these then works."""
    bare = other(tiny, lambda tokenizer: setattr(tokenizer, "chat_template", None))
    with pytest.raises(UserError, match=r"no chat template.*chatml, instruction, phi-2, plain.*Jinja"):
        template.choose(bare)
    for name in PRESETS:
        chat_templates.put_on(bare, name)
        assert template.choose(bare).stop_ids[0] == bare.eos_token_id


def test_a_sentencepiece_tokenizer_learns_the_same(tiny):
    """One whose tokens hold the space before a word, and which begins every text: same runs, no gate, one begin token."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    made.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.pre_tokenizer = pre_tokenizers.Sequence(  # words are learned one by one, but none of this is there later
        [pre_tokenizers.Split("\u2581", "merged_with_next"), pre_tokenizers.Split(Regex("[\n:]"), "isolated")]
    )
    corpus = [text.replace("[", "").replace("]", "") for text in TRAINED.values()]
    special = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    made.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=500, special_tokens=special[:3], initial_alphabet=["\n"])
    )
    made.pre_tokenizer = None
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    for name in PRESETS:
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=made,
            bos_token="<s>",
            eos_token="</s>",
            unk_token="<unk>",
            clean_up_tokenization_spaces=False,
        )
        chat_templates.put_on(tokenizer, name)
        preview = template.preview(tokenizer, template.choose(tokenizer), TALK, 1000, "answers")
        assert preview["gates"] == []
        assert shown(preview) == "<s>" + TRAINED[name].replace("<|im_end|>", "</s>")
        assert preview["ids"].count(tokenizer.bos_token_id) == 1


def test_a_pasted_copy_of_a_known_template_is_learned_as_that(tiny):
    """Qwen's template pasted onto another model gets TRL's own marks, and needs no guard; with one more comment it is a stranger's."""
    from importlib import resources

    text = resources.files("trl").joinpath("chat_templates", "qwen2_5.jinja").read_text()
    _, found = chosen(tiny, text)
    assert (found.own, found.guarded) == (text, False)
    assert "{% generation %}" in found.training
    _, found = chosen(tiny, text + "{# mine #}")
    assert (found.training, found.guarded) == (None, True)


def test_chatml_stops_where_the_model_knows_it(tiny):
    """A base model that ends texts otherwise but knows <|im_end|> ends its turns with it; one that doesn't, with its own."""
    base = other(tiny, lambda tokenizer: setattr(tokenizer, "eos_token", "<|endoftext|>"))
    chat_templates.put_on(base, "chatml")
    found = template.choose(base, [0])
    assert base.eos_token == "<|im_end|>"
    assert found.stop_ids == (2, 0)
    without = other(tiny, lambda tokenizer: setattr(tokenizer, "eos_token", "<|endoftext|>"))
    chat_templates.put_on(without, "plain")
    assert template.choose(without).stop_ids == (0,)


@pytest.mark.parametrize("name", ["chatlm", "", "own "])
def test_a_template_that_is_none_is_refused(name):
    """A name that is not known and holds no Jinja is a mistake, told with the names; in a config and in a model alike."""
    for make in (lambda: TrainConfig(template=name), lambda: Model("m", template=name)):
        with pytest.raises(UserError, match="own, chatml, instruction, phi-2, plain"):
            make()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{% for m in messages %}\n{{ m.content }\n{% endfor %}", r"line 2 \('{{ m.content }'\): unexpected '}'"),
        ("{% for m in messages %}\n{{ m.content }}", "line 2 .*Unexpected end of template"),
        ("{{ messages }}\n{{ messages[0].content + messages[0].mood.x }}", "line 2 .*has no attribute 'mood'"),
        ("{{ raise_exception('only on Sundays') }}", "refuses this conversation: only on Sundays"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{% include '/etc/passwd' %}", "no loader"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "recursion"),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "no stop token.*eos_token"),
        ("{{ eos_token }}", "leaves out an answer"),
    ],
)
def test_a_pasted_template_that_can_not_be_used_says_where(tiny, text, sentence):
    """The line, its text and the reason; no traceback."""
    with pytest.raises(UserError, match=sentence):
        chosen(tiny, text)


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
DOUBLING = "{% set n = namespace(x='ab') %}{% for a in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}"


@pytest.mark.parametrize(
    "text",
    [ENDLESS, DOUBLING, "{{ 'a' * 99999999999 }}", "{{ 'a' * 200000000 }}"],
    ids=["endless", "doubling", "fold", "long"],
)
def test_a_pasted_template_always_ends(tiny, text):
    """Loops, doubling texts and what is computed while compiling: over in about 2 s, in little memory, with a sentence."""
    chosen(tiny, PASTED)  # the guard has started
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"The chat template .*mend it or choose another"):
        chosen(tiny, PASTED + text)
    assert time.monotonic() - begun < rendering.SECONDS + 3
    chosen(tiny, PASTED)  # and the next one is served


@pytest.mark.skipif(sys.platform != "linux", reason="other systems don't limit a process's memory")
def test_a_pasted_template_gets_little_memory(tiny):
    """What would take 3 GB is refused before it is there."""
    with pytest.raises(UserError, match="needs more than 1 GB"):
        chosen(tiny, PASTED + "{{ messages[0].content[:1] * 3000000000 }}")


def test_white_space_outside_a_tokens_offsets_counts_to_it():
    """A tokenizer that leaves blanks out of its offsets loses neither a word's first nor an answer's last one."""
    assert masks.covered([(0, 2)], [(0, 1), (2, 2), (2, 3)]) == [(0, 2)]
    assert masks.covered([(1, 2)], [(0, 1), (2, 4)]) == [(1, 2)]
    assert masks.covered([(1, 2)], [(0, 1), (1, 2), (1, 2), (2, 3)]) == [(1, 3)]


def test_one_endless_row_is_enough(tiny):
    """A template that hangs on every row costs 2 s, not 2 s for each; a refusal is told row by row as ever."""
    tokenizer, found = chosen(tiny, PASTED + "{% if messages[0].content == 'Hang' %}" + ENDLESS + "{% endif %}")
    begun = time.monotonic()
    with pytest.raises(rendering.TooSlow):
        template.tokenize(tokenizer, found, [talk("Hang", "x", number=i) for i in range(20)], 100, "answers")
    assert time.monotonic() - begun < rendering.SECONDS + 3


def test_the_guard_ends_with_whom_it_serves(tiny):
    """Killed while a template hangs, a process leaves nothing behind: the kernel ends its guard."""
    code = (
        "import sys\nfrom pipeline import rendering\n"
        "rendering.render('{{ messages }}', [], guarded=True)\nprint(rendering._guard._process.pid, flush=True)\n"
        f"rendering.render({ENDLESS!r}, [], guarded=True)"
    )
    asking = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=tiny.parents[1]
    )
    guard = int(asking.stdout.readline())
    time.sleep(0.3)
    asking.kill()
    asking.communicate()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and running(guard):
        time.sleep(0.1)
    assert not running(guard)


def running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{process}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def test_the_guard_holds_no_secret(tiny, monkeypatch):
    """What runs a stranger's template does not know this person's token."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    rendering._guard.end()
    chosen(tiny, PASTED)
    environment = Path(f"/proc/{rendering._guard._process.pid}/environ")
    if not environment.exists():
        pytest.skip("no /proc here")
    assert b"hf_secret" not in environment.read_bytes()
    assert b"PATH=" in environment.read_bytes()


def test_a_prompt_that_ends_in_a_space_is_a_trap(tiny):
    """The space belongs to the answer's first token: the gate says so, and with the space moved there it is silent."""
    trap = PASTED.replace("{{ 'assistant:' }}", "{{ 'assistant: ' }}")
    tokenizer, found = chosen(tiny, trap)
    (number, gate), *_ = template.tokenize(tokenizer, found, [talk("Hi", "The fox.")], 100, "answers").gates
    assert (number, gate.kind) == (1, "prompt-not-trained")
    assert "without the space" in gate.sentence
    assert not template.tokenize(*chosen(tiny, PASTED), [talk("Hi", "The fox.")], 100, "answers").gates


def test_a_text_that_begins_twice_is_told(tiny):
    """Two begin tokens in a row, as a template and a careless tokenizer would write them, stop the run."""
    for times, kinds in ((1, []), (2, ["double-begin"])):
        tokenizer, found = chosen(tiny, "{{ bos_token }}" * times + PASTED)
        gates = template.tokenize(tokenizer, found, [talk("Hi", "Fox.")], 100, "answers").gates
        assert [gate.kind for _, gate in gates] == kinds


def test_a_row_of_which_nothing_is_learned_is_told(tiny):
    """A mask that leaves the answer out stops the run before it begins."""
    blind = "{% for m in messages %}{{ m.content + eos_token }}{% if m.role == 'tool' %}{% generation %}x{% endgeneration %}{% endif %}{% endfor %}"
    found = template.tokenize(*chosen(tiny, blind), [talk("Hi", "Fox.")], 100, "answers")
    assert "nothing-learned" in [gate.kind for _, gate in found.gates]


def test_padding_never_hides_a_stop_token(tiny, tmp_path):
    """Where padding is the stop token, the collator still learns every stop token and no padding."""
    from tests.test_template import dummy

    tokenizer = other(tiny, lambda tokenizer: setattr(tokenizer, "pad_token", tokenizer.eos_token))
    found = template.choose(tokenizer)
    examples = template.tokenize(tokenizer, found, [talk("Hi", "Fox."), talk("So?", "The owl sleeps.")], 100, "answers")
    parts = {"train": tokens.as_dataset(examples.examples), "validation": tokens.as_dataset(())}
    config = TrainConfig(batch_size=2, rank=2)
    trainer = train.make_trainer(
        adapters.fresh(dummy(tokenizer), tokenizer, config, recompute=False), tokenizer, parts, config, tmp_path, []
    )
    (batch,) = trainer.get_train_dataloader()
    assert (batch["attention_mask"] == 0).any()
    for labels, mask in zip(batch["labels"], batch["attention_mask"], strict=True):
        assert (labels[mask == 0] == IGNORED).all()
        assert tokenizer.eos_token_id in labels[mask == 1].tolist()


def test_the_last_answer_follows_the_prompt_it_is_asked_with(tiny):
    """A template that shortens earlier turns at inference, but not while training: "last answer" learns after the short ones."""
    own = chat_templates.MARKS.sub("", chat_templates.MARKED["plain"]).replace(
        "message['content'] | trim", "(message['content'] if loop.last or message['role'] == 'user' else '...') | trim"
    )
    tokenizer = model.tokenizer(Model(str(tiny)))
    both = template.Template(own, chat_templates.MARKED["plain"], (tokenizer.eos_token_id,))
    row = talk("Hi", "The fox.", "So?", "The owl.")
    assert [gate.kind for _, gate in template.tokenize(tokenizer, both, [row], 100, "answers").gates] == [
        "prompt-not-trained"
    ]
    preview = template.preview(tokenizer, both, row, 100, "last answer")
    assert (shown(preview), preview["gates"]) == ("Hi\n\n...<|im_end|>\n\nSo?\n\n[The owl.<|im_end|>]", [])


def test_reasoning_is_learned_or_told(tiny):
    """A template that knows reasoning writes and learns it; one that leaves it out stops the run."""
    row = talk("Hi", "Fox.")
    row["messages"][1]["reasoning_content"] = "Red animals are foxes."
    gates = template.tokenize(*chosen(tiny, "plain"), [row], 100, "answers").gates
    assert [(gate.kind, "reasoning" in gate.sentence) for _, gate in gates] == [("left-out", True)]
    thinks = PASTED.replace("m['content'] + eos", "(m.reasoning_content or '') + ' So: ' + m['content'] + eos")
    preview = template.preview(*chosen(tiny, thinks), row, 100, "answers")
    assert "[ Red animals are foxes. So: Fox.<|im_end|>]" in shown(preview)
    assert not preview["gates"]


def plain_text(number: int, text: str) -> Row:
    return {"row": number, "messages": [], "text": text}


@pytest.mark.parametrize("loss_on", ["answers", "last answer", "everything"])
def test_plain_text_is_learned_whole(tiny, loss_on):
    """Text and a stop token, without any template, whatever the loss is on; nobody is asked for it."""
    tokenizer, found = chosen(tiny, "own")
    preview = template.preview(tokenizer, found, plain_text(1, "The fox sees the owl."), 100, loss_on)
    assert shown(preview) == "[The fox sees the owl.<|im_end|>]"
    assert (preview["generation_prompt"], preview["generation_ids"], preview["gates"]) == ("", [], [])


def test_plain_text_is_cut_counted_and_checked(tiny):
    """Beyond the longest length the end goes, as for answers; a control token inside is told; begin comes once."""
    tokenizer, found = chosen(tiny, "own")
    rows = [plain_text(1, "the fox " * 40), plain_text(2, "short"), plain_text(3, "one<|im_end|>two")]
    made = template.tokenize(tokenizer, found, rows, 16, "answers")
    assert [(e.row, e.cut) for e in made.examples] == [(1, True), (2, False), (3, False)]
    assert len(made.examples[0].input_ids) == 16 < made.longest == made.examples[0].length
    assert made.examples[0].input_ids == made.examples[0].labels
    assert [(number, gate.kind) for number, gate in made.gates] == [(3, "control-token")]


def test_a_run_on_plain_text_goes_from_end_to_end(make_run, monkeypatch):
    """Train, evaluate, report: the loss is measured on both sides, no answer is asked for, nothing falls over."""
    folder = make_run(rows=24, epochs=6)
    for part, count in (("train", 24), ("validation", 4), ("held_out", 4)):
        rows = [plain_text(i + 1, f"The fox sees the owl number {i}. " * (1 + i % 3)) for i in range(count)]
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for module, name in ((train, "train"), (evaluate, "evaluate")):
        job = Job(folder, name)
        job.emit("started", pid=0, from_step=0)
        ending, values = module.work(job)
        job.emit(ending, **values)
        assert ending == "finished"
    report = jobs.read_json(folder / "report.json")
    assert report["n"] == 4
    assert set(report["metrics"]) == {"loss", "perplexity"}
    assert report["metrics"]["loss"]["tuned"] < report["metrics"]["loss"]["base"]
    assert report["rows"] == []


def test_text_and_talk_are_judged_together(trained_run, tmp_path):
    """Held-out rows of both kinds: answers for the one, loss for both."""
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    lines = (folder / "held_out.jsonl").read_text().splitlines(keepends=True)[:3]
    (folder / "held_out.jsonl").write_text("".join([json.dumps(plain_text(99, "the fox " * 900)) + "\n", *lines]))
    evaluate.work(Job(folder, "evaluate"))
    report = jobs.read_json(folder / "report.json")
    assert (report["n"], len(report["rows"]), report["left_out"]) == (4, 3, [])
    assert {"exact_match", "loss"} <= set(report["metrics"])


@pytest.fixture(scope="module")
def phi_run(tiny: Path, tmp_path_factory):
    """A run trained with a preset, three steps."""
    from tests.conftest import new_run

    before, os.environ["TUNING_FORK_HOME"] = os.environ.get("TUNING_FORK_HOME"), str(tmp_path_factory.mktemp("phi"))
    try:
        folder = new_run(tiny, rows=24, template="phi-2", max_steps=3)
    finally:
        if before is not None:
            os.environ["TUNING_FORK_HOME"] = before
    job = Job(folder, "train")
    job.emit("started", pid=0, from_step=0)
    ending, values = train.work(job)
    job.emit(ending, **values)
    return folder


def test_the_chosen_template_goes_with_the_adapter(phi_run, tiny):
    """Saved beside the adapter, hashed in base.json, and what both sides are asked with."""
    _, found = chosen(tiny, "phi-2")
    assert (phi_run / "adapter" / "chat_template.jinja").read_text() == found.own
    assert jobs.read_json(phi_run / "base.json")["templates"] == found.hashes()
    pair = sides.open_trusted(phi_run)
    asked = template.prompt_text(pair.tokenizer, pair.template, [{"role": "user", "content": "Hi"}])
    assert asked == "Instruct: Hi\nOutput:"


def test_a_resumed_run_keeps_its_template(phi_run, tmp_path):
    """Another template in config.json is refused like any other setting that changes what is learned."""
    folder = tmp_path / "run"
    shutil.copytree(phi_run, folder)
    config = jobs.read_json(folder / "config.json")
    config["template"] = "plain"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="template is 'plain', but the run began with 'phi-2'"):
        train.work(Job(folder, "train"))


def test_a_run_that_would_lose_every_answer_says_what_would_do(make_run, tiny):
    """Nothing is trained, and the length that cuts nothing is told."""
    folder = make_run(max_length=8)
    rows = [row for part in tokens.PARTS for row in dataset.read_part(folder, part)]
    lengths = [len(template.preview(*chosen(tiny, "own"), row, 1000, "answers")["ids"]) for row in rows]
    told = rf"every answer lies beyond max_length; {max(lengths)} tokens would cut no row\. Raise"
    with pytest.raises(UserError, match=told):
        train.work(Job(folder, "train"))


def test_fifty_masks_in_a_second(tiny):
    """What a preview's page of rows costs once the tokenizer is loaded, for its own template and a pasted one."""
    rows = [
        talk("What does the fox see? " * 8, "The fox sees the owl. " * 12, "And?", "No more. " * 9, number=i)
        for i in range(50)
    ]
    for name in ("own", PASTED):
        tokenizer, found = chosen(tiny, name)
        begun = time.process_time()
        assert len(template.tokenize(tokenizer, found, rows, 2000, "answers").examples) == 50
        assert time.process_time() - begun < 1


def test_a_run_is_written_with_its_template(tiny):
    """A pasted template goes into the config as it is, and comes back."""
    from pipeline.schema import from_json, to_json

    run = Run(str(tiny), Source("x.jsonl"), "test", TrainConfig(template=PASTED))
    assert from_json(Run, json.loads(json.dumps(to_json(run))), "run") == run
