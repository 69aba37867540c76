"""Every chat template that TRL ships, on five kinds of rows: its labels, a difference that is listed, or a sentence."""

import re
from importlib import resources
from pathlib import Path

import pytest
from transformers import AutoTokenizer
from trl.chat_template_utils import get_training_chat_template

from pipeline import template
from pipeline.errors import UserError

FILES = {
    file.name.removesuffix(".jinja"): file
    for file in resources.files("trl").joinpath("chat_templates").iterdir()
    if file.name.endswith(".jinja")
}
TRAINING = "_training"
TOKEN = re.compile(r"<\|?[A-Za-z/][\w/ -]*\|?>|<｜[^｜<>]+｜>|<\|[^|<>]+\|>|\[/?[A-Z_]{3,}\]")
CALL = {"type": "function", "function": {"name": "find_fox", "arguments": {"where": "barn"}}}
PARAMETERS = {
    "type": "object",
    "properties": {"where": {"type": "string", "description": "a place"}},
    "required": ["where"],
}
TOOL = {"type": "function", "function": {"name": "find_fox", "description": "Finds it.", "parameters": PARAMETERS}}
ASKED = {"role": "user", "content": "Where is the fox?"}
ANSWER = {"role": "assistant", "content": "In the barn."}
AGAIN = [{"role": "user", "content": "And the owl?"}, {"role": "assistant", "content": "It sleeps."}]
ROWS = {
    "single": {"messages": [ASKED, ANSWER]},
    "multi": {"messages": [ASKED, ANSWER, *AGAIN]},
    "system": {"messages": [{"role": "system", "content": "Be short."}, ASKED, ANSWER]},
    "tools": {
        "messages": [
            ASKED, {"role": "assistant", "content": "", "tool_calls": [CALL]}, {"role": "tool", "content": "barn"}, ANSWER,
        ],
        "tools": [TOOL],
    },
    "reasoning": {"messages": [ASKED, {**ANSWER, "reasoning_content": "Foxes like hay."}]},
}  # fmt: skip
STOPS = {"gptoss": ["<|call|>"], "glm4moe": ["<|observation|>"]}  # what those models' generation_config names besides

# What comes of single, multi, system, tools, reasoning; and why where it is not "equal".
# equal: ids and labels are TRL's. derived: TRL has no training variant and refuses; ours come from prefixes, and hold each
# answer with its stop token. A word after + is the gate that stops a run (the labels are equal or derived all the same).
# refused: the template itself refuses such a row, and its own words are told.
PROMPT, LEFT, STOP = "+prompt-not-trained", "+left-out", "+stop-not-learned"
NO_REASONING = "leaves the reasoning out"
NO_TOOLS = "knows no tools"
THINKS = "asks with an opened <think>, but writes an answer without reasoning otherwise"
REWRITES = "asks without the empty reasoning that the training variant writes in earlier turns"
NO_VARIANT = "TRL ships no training variant"
ALL_EQUAL = "equal equal equal equal equal"
NO_THOUGHT = f"equal equal equal equal equal{LEFT}"
NEITHER = f"equal equal equal equal{LEFT} equal{LEFT}"
ONLY_THOUGHT = f"equal{PROMPT} equal{PROMPT} equal{PROMPT} equal{PROMPT} equal"
REWRITTEN = f"equal equal{PROMPT} equal equal equal"
VERDICTS = {
    "cohere": (f"equal equal equal refused equal{LEFT}", f"{NO_TOOLS}, {NO_REASONING}"),
    "cohere2": (f"equal equal equal refused equal{LEFT}", f"its tools take another form, {NO_REASONING}"),
    "deepseek_r1_distill": (
        f"equal{PROMPT} equal{PROMPT} equal{PROMPT} equal{LEFT}{PROMPT} equal{LEFT}{PROMPT}", f"{THINKS}; {NO_REASONING}",
    ),
    "deepseekv3": (
        f"equal{PROMPT} equal{PROMPT} equal{PROMPT} refused equal{LEFT}{PROMPT}",
        f"{THINKS}; {NO_REASONING}; wants a call's arguments as text",
    ),
    "diffusion_gemma": (f"equal equal equal equal{STOP} equal", "a tool call ends in no stop token"),
    "gemma": (f"equal equal refused refused equal{LEFT}", f"knows no system message, {NO_TOOLS}, {NO_REASONING}"),
    "gemma3": (f"equal equal equal refused equal{LEFT}", f"{NO_TOOLS}, {NO_REASONING}"),
    "gemma4": (f"derived derived derived derived{STOP} derived{LEFT}", f"{NO_VARIANT}; {NO_REASONING}"),
    "gemma4_v2": (f"derived derived derived derived derived{LEFT}", f"{NO_VARIANT}; {NO_REASONING}"),
    "gemma4_v3": (f"derived derived derived derived{STOP} derived{LEFT}", f"{NO_VARIANT}; {NO_REASONING}"),
    "gemma4_v4": (f"derived derived derived derived{STOP} derived{LEFT}", f"{NO_VARIANT}; {NO_REASONING}"),
    "gemma4_v5": (f"derived derived derived derived{STOP} derived", f"{NO_VARIANT}; a tool call ends in no stop token"),
    "glm4moe": (ALL_EQUAL, "its stop token is the next turn's first, as TRL's variant writes it"),
    "gptoss": (f"equal equal{STOP} equal equal equal", "earlier answers end in <|end|>, which stops nothing"),
    "idefics3": ("", "wants content in parts; answers that are plain text are left out"),
    "lfm2": (NO_THOUGHT, NO_REASONING),
    "lfm2_2_5": (ALL_EQUAL, ""),
    "lfm2_2_5_v2": (ALL_EQUAL, ""),
    "lfm2_2_5_vl": (ALL_EQUAL, ""),
    "lfm2_v2": (NO_THOUGHT, NO_REASONING),
    "llama3": (NEITHER, f"{NO_TOOLS}, {NO_REASONING}"),
    "llama3_1": (f"derived derived derived derived derived{LEFT}", f"{NO_VARIANT}; {NO_REASONING}"),
    "llama3_2": (f"derived derived derived derived derived{LEFT}", f"{NO_VARIANT}; {NO_REASONING}"),
    "llava_next": ("", "wants content in parts"),
    "muse_glimmer": (ALL_EQUAL, ""),
    "nemotron_3_5_lightning": (ONLY_THOUGHT, THINKS),
    "nemotron_3_nano": (ONLY_THOUGHT, THINKS),
    "nemotron_3_super": (ONLY_THOUGHT, THINKS),
    "nemotron_3_ultra": (ONLY_THOUGHT, THINKS),
    "phi3": (NEITHER, f"{NO_TOOLS}, {NO_REASONING}"),
    "phi3_5": (NEITHER, f"{NO_TOOLS}, {NO_REASONING}"),
    "qwen2_5": (NO_THOUGHT, NO_REASONING),
    "qwen2_5_vl": (NEITHER, f"{NO_TOOLS}, {NO_REASONING}"),
    "qwen3": (f"equal equal{PROMPT} equal equal{PROMPT} equal", REWRITES),
    "qwen3_5_nothink": (f"equal equal{PROMPT} equal equal equal{PROMPT}", f"{REWRITES}; asks with the reasoning closed"),
    "qwen3_5_think": (REWRITTEN, REWRITES),
    "qwen3_6": (REWRITTEN, REWRITES),
    "qwen3_8": (ALL_EQUAL, ""),
    "qwen3_instruct_2507": (NO_THOUGHT, NO_REASONING),
    "qwen3_vl": (NO_THOUGHT, NO_REASONING),
    "smolvlm": ("", "wants content in parts; answers that are plain text are left out"),
}  # fmt: skip


def small_tokenizer(tiny: Path, text: str):
    """The bundled tokenizer, which then knows the special tokens of a template."""
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(TOKEN.findall(text)))})
    tokenizer.bos_token, tokenizer.eos_token = "<s>", "</s>"
    tokenizer.chat_template = text
    return tokenizer


def trl_labels(tokenizer, row, training: str) -> tuple[list[int], list[bool]]:
    made = tokenizer.apply_chat_template(
        row["messages"],
        tools=row.get("tools"),
        chat_template=training,
        return_dict=True,
        return_assistant_tokens_mask=True,
    )
    return list(made["input_ids"]), [bool(flag) for flag in made["assistant_masks"]]


def trl_template(tokenizer) -> str | None:
    try:
        return get_training_chat_template(tokenizer) or tokenizer.chat_template
    except ValueError:
        return None


def learned(rendered) -> list[str]:
    return ["".join(rendered.pieces[a:b]) for a, b in rendered.spans]


def verdict(tokenizer, found, row, training: str | None) -> str:
    """What comes of a row; fails where the labels are neither TRL's nor each answer with its stop token."""
    try:
        rendered, gates = template.render_row(tokenizer, found, {"row": 1, **row}, "answers")
    except UserError:
        return "refused"
    if training:
        assert (rendered.ids, rendered.trained) == trl_labels(tokenizer, row, training)
    else:
        stop = tokenizer.decode(found.stop_ids[0])
        answers = [m["content"] + stop for m in row["messages"] if m["role"] == "assistant" and "tool_calls" not in m]
        last = learned(rendered)[-len(answers) :]
        assert all(text.strip().endswith(answer) for text, answer in zip(last, answers, strict=True))
    kinds = dict.fromkeys(gate.kind for gate in gates)
    return ("equal" if training else "derived") + "".join(f"+{kind}" for kind in kinds)


def test_every_template_is_listed():
    """A template that a new TRL brings turns up here."""
    assert set(VERDICTS) == {name for name in FILES if not name.endswith(TRAINING)}


@pytest.mark.parametrize("name", VERDICTS)
def test_each_template_is_what_the_table_says(tiny, name):
    """Equal to TRL's own ids and labels, derived where it has none, stopped by the gates listed, or refused."""
    wanted, _ = VERDICTS[name]
    tokenizer = small_tokenizer(tiny, FILES[name].read_text(encoding="utf-8"))
    stops = tokenizer.convert_tokens_to_ids(STOPS.get(name, []))
    if not wanted:
        with pytest.raises(UserError, match=r"leaves out an answer|refuses this conversation"):
            template.choose(tokenizer, stops)
        return
    found = template.choose(tokenizer, stops)
    training = trl_template(tokenizer)
    assert " ".join(verdict(tokenizer, found, row, training) for row in ROWS.values()) == wanted


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(TRAINING)])
def test_each_training_variant_can_be_a_models_own(tiny, name):
    """A tokenizer saved with TRL's marked variant gives the labels of its marks."""
    parent = name.removesuffix(TRAINING)
    tokenizer = small_tokenizer(tiny, FILES[name].read_text(encoding="utf-8"))
    if not VERDICTS[parent][0]:
        with pytest.raises(UserError):
            template.choose(tokenizer)
        return
    found = template.choose(tokenizer)
    for kind in ("single", "multi"):
        assert verdict(tokenizer, found, ROWS[kind], tokenizer.chat_template).startswith("equal")


@pytest.mark.parametrize("name", [name for name, (words, _) in VERDICTS.items() if PROMPT in words.partition(" ")[2]])
def test_the_last_answer_can_be_learned_where_earlier_turns_are_rewritten(tiny, name):
    """What the gate advises holds: loss on "last answer" follows the prompt that is asked, unless that opens a thought."""
    tokenizer = small_tokenizer(tiny, FILES[name].read_text(encoding="utf-8"))
    found = template.choose(tokenizer)
    rendered, gates = template.render_row(tokenizer, found, {"row": 1, **ROWS["multi"]}, "last answer")
    opens = PROMPT in VERDICTS[name][0].partition(" ")[0]
    assert [gate.kind for gate in gates] == (["prompt-not-trained"] if opens else [])
    assert "It sleeps." in learned(rendered)[-1]
    assert len(rendered.spans) == 1
