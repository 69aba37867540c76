"""The model card: Markdown with YAML front matter, made of what a run's files say. Reads a run folder, writes nothing.

Rows and answers stay out of it: a card may be public while the data is not. So do paths of the machine it was made on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import catalogue, config, jobs
from pipeline.methods import METHODS
from pipeline.schema import PARTS, Publication, Run, TrainConfig, settings, to_json

HUB_LICENCES = {"apache-2.0", "mit", "gemma", "llama3.2"}  # those of our offers that the Hub has a word for
LIBRARIES = {"adapter": "peft", "merged": "transformers"}
RELATIONS = {"adapter": "adapter", "merged": "finetune"}
LOWER_IS_BETTER = ("loss", "perplexity")
LONGEST_SHOWN_TEMPLATE = 2000  # characters; longer ones are named, the file lies beside the card


@dataclass(frozen=True)
class Base:
    """The model underneath, as a stranger may read it: a Hub id and its commit, or the plain name of a local folder.

    `licence` is empty where it is not known.
    """

    name: str
    on_hub: bool
    bundled: bool = False
    revision: str | None = None
    licence: str = ""


@dataclass(frozen=True)
class Facts:
    """What the run's files say: what was asked, what it was trained on, and what evaluation and merge found, if any."""

    run: Run
    base: Base
    asked: dict[str, Any]
    steps: int
    template: str
    stop_ids: list[int]
    report: dict[str, Any] | None
    merge: dict[str, Any] | None


def text(folder: Path, publication: Publication) -> str:
    """The card of what is published: README.md of the repository on the Hub."""
    facts = read(folder)
    parts = [
        f"# {escape(facts.run.name)}",
        introduction(facts, publication),
        usage(facts, publication),
        data(facts),
        prompt_format(facts),
        training(facts),
        scores(facts),
        *([merge_check(facts.merge)] if facts.merge and publication.what == "merged" else []),
        limits(facts),
        versions(facts),
    ]
    return f"---\n{front_matter(facts, publication)}\n---\n\n" + "\n\n".join(parts) + "\n"


def read(folder: Path) -> Facts:
    """Raises UserError when one of the run's own files is missing or damaged."""
    run, remembered = jobs.load(folder), jobs.read_json(folder / "base.json")
    found = {name: jobs.read_json(folder / name) for name in ("report.json", "merge.json") if (folder / name).exists()}
    trained = jobs.view(folder).jobs.get("train")
    template = folder / "adapter" / "chat_template.jinja"
    return Facts(
        run=run,
        base=base_of(run.model, remembered.get("revision")),
        asked=jobs.read_json(folder / "run.json"),
        steps=trained.step if trained else 0,
        template=template.read_text(encoding="utf-8") if template.exists() else "",
        stop_ids=remembered["stop_ids"],
        report=found.get("report.json"),
        merge=found.get("merge.json"),
    )


def base_of(model: str, revision: str | None = None) -> Base:
    """A local folder is known outside by its own name only, the bundled model by the name it ships under."""
    name = config.portable_model(model)
    if Path(name).is_absolute():
        return Base(Path(name).name, on_hub=False)
    offer = catalogue.find(name)
    bundled = name in config.BUNDLED
    return Base(name, not bundled, bundled, revision, offer.licence if offer else "")


def front_matter(facts: Facts, publication: Publication) -> str:
    """What the Hub reads. A base that is not on the Hub has no place here: its plain name would link to a stranger."""
    from huggingface_hub import EvalResult, ModelCardData

    dataset: dict[str, Any] = {"dataset_type": "custom", "dataset_name": f"held-out rows of {file_name(facts)}"}
    tuned = {name: score["tuned"] for name, score in facts.report["metrics"].items()} if facts.report else {}
    results = [
        EvalResult(task_type="text-generation", metric_type=name, metric_value=round(value, 4), **dataset)
        for name, value in tuned.items()
        if math.isfinite(value)
    ]
    card = ModelCardData(
        library_name=LIBRARIES[publication.what],
        pipeline_tag="text-generation",
        **licence(facts.base),
        base_model=facts.base.name if facts.base.on_hub else None,
        base_model_relation=RELATIONS[publication.what] if facts.base.on_hub else None,
        tags=["tuning-fork", facts.run.config.method, "sft", "trl"],
        model_name=plain(facts.run.name) if results else None,
        eval_results=results or None,
    )
    return card.to_yaml()


def licence(base: Base) -> dict[str, Any]:
    """The base's, in the Hub's words; nothing where it is not known, for none may be made up."""
    if base.licence and base.licence not in HUB_LICENCES:
        return {"license": "other", "license_name": base.licence if base.licence != "other" else None}
    return {"license": base.licence or None}


def introduction(facts: Facts, publication: Publication) -> str:
    base = facts.base
    named = f"[{base.name}](https://huggingface.co/{base.name})" if base.on_hub else f"**{escape(base.name)}**"
    method = METHODS[facts.run.config.method]
    made = f"after {method.label}" if method.family == "weights" else f"with a {method.label} adapter merged into it"
    what = {
        "adapter": f"A {method.label} adapter for {named}: a small file that changes what the base answers, and needs it.",
        "merged": f"{named} {made}: a whole model that needs nothing else.",
    }
    lines = [f"{what[publication.what]} Trained with Tuning Fork."]
    if not base.on_hub:
        origin = "is the small model that ships with Tuning Fork" if base.bundled else "was a local folder"
        lines.append(f"The base {origin}; no model on the Hub is meant by that name.")
    if base.revision:
        lines.append(f"Base at commit `{base.revision}`.")
    if base.licence and base.licence != "other":
        lines.append(f"The licence of its base, {base.licence}, holds for it, too.")
    else:
        lines.append("No licence is stated: what this model may be used for is decided by the licence of its base.")
    return "\n\n".join(lines)


def usage(facts: Facts, publication: Publication) -> str:
    """Code that loads what is published, the way it was judged."""
    lines = ["from transformers import AutoModelForCausalLM, AutoTokenizer", ""]
    if publication.what == "merged":
        lines.append(f'model = AutoModelForCausalLM.from_pretrained("{publication.repo}")')
    else:
        lines[0] = "from peft import PeftModel\n" + lines[0]
        lines += adapter_loading(facts, publication.repo)
    lines += [
        f'tokenizer = AutoTokenizer.from_pretrained("{publication.repo}")',
        'messages = [{"role": "user", "content": "Hello!"}]',
        "prompt = tokenizer.apply_chat_template(",
        '    messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"',
        ").to(model.device)",
        f"answer = model.generate(**prompt, max_new_tokens=200, do_sample=False, eos_token_id={facts.stop_ids})",
        'print(tokenizer.decode(answer[0, prompt["input_ids"].shape[1]:], skip_special_tokens=True))',
    ]
    return "## How to use it\n\n" + fenced("\n".join(lines), "python")


def adapter_loading(facts: Facts, repo: str) -> list[str]:
    base, options = facts.base, ""
    lines = []
    if base.revision:
        options += f', revision="{base.revision}"'
    if held := QUANTIZED.get(facts.run.config.held):  # the adapter was trained and judged on the quantized base
        lines = ["from transformers import BitsAndBytesConfig", f"quantization = BitsAndBytesConfig({held})"]
        options += ", quantization_config=quantization"
    if not base.on_hub:
        lines.append(f"# the folder {plain(base.name)} as it is on your machine")
    return [
        *lines,
        f"base = AutoModelForCausalLM.from_pretrained({python_text(base.name)}{options})",
        *(room_for_new_tokens(repo) if facts.run.config.new_tokens else []),
        f'model = PeftModel.from_pretrained(base, "{repo}")',
    ]


QUANTIZED = {
    "4-bit": 'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True',
    "8-bit": "load_in_8bit=True",
}


def room_for_new_tokens(repo: str) -> list[str]:
    return [
        f'size = len(AutoTokenizer.from_pretrained("{repo}"))',
        "if base.get_input_embeddings().num_embeddings < size:  # the tokens it has learned",
        "    base.resize_token_embeddings(size, mean_resizing=False)",
    ]


def data(facts: Facts) -> str:
    if "origin" in facts.asked:
        return f"## What it was trained on\n\n{imported(facts)} What it learned from is not known here."
    source, counts = facts.run.source, facts.asked["counts"]
    rows = [(part.replace("_", "-"), str(counts[part]), purpose) for part, purpose in zip(PARTS, PURPOSES, strict=True)]
    lines = [
        "## What it was trained on",
        f"{code(file_name(facts))}; the rows themselves are not part of this repository. "
        f"Fingerprint of the conversations: `{facts.asked['fingerprint']}`.",
        table(("part", "conversations", "what it is for"), rows),
    ]
    supplied = [("validation", source.validation_path), ("held-out", source.held_out_path)]
    lines += [
        f"The {part} rows come from a file of their own, {code(Path(path).name)}." for part, path in supplied if path
    ]
    return "\n\n".join(lines)


PURPOSES = ("learned from", "watched while training", "kept away until the judging")


def prompt_format(facts: Facts) -> str:
    stops = ", ".join(map(str, facts.stop_ids))
    lines = [
        "## Prompt format",
        "Prompts are made by the chat template in `chat_template.jinja`, which `apply_chat_template` uses by itself; the "
        f"text it learned from has the same format. An answer ends with token {stops}.",
    ]
    if facts.run.source.system:
        lines.append("Conversations without a system prompt were given this one; use it, too:")
        lines.append(fenced(facts.run.source.system))
    if 0 < len(facts.template) <= LONGEST_SHOWN_TEMPLATE:
        lines.append(fenced(facts.template, "jinja"))
    return "\n\n".join(lines)


def training(facts: Facts) -> str:
    """Every setting, drawn from the dataclass that defines them."""
    if "origin" in facts.asked:
        return f"## How it was trained\n\n{imported(facts)} How it was trained is not known here."
    asked = to_json(facts.run.config)
    rows = [(name, code(str(asked[name]))) for name in settings(TrainConfig)]
    learned = {
        "answers": "every answer's tokens",
        "last answer": "the last answer's tokens",
        "everything": "all tokens",
    }[facts.run.config.loss_on]
    return "\n\n".join(
        [
            "## How it was trained",
            f"Supervised fine-tuning with TRL: {how(facts.run.config)}, {facts.steps} steps, loss on {learned}.",
            table(("setting", "value"), rows),
        ]
    )


def imported(facts: Facts) -> str:
    return f"It was not trained here: the adapter was imported from {code(str(facts.asked['origin']))}."


def how(config: TrainConfig) -> str:
    method = METHODS[config.method]
    return f"{method.label} of rank {config.rank}" if "rank" in method.uses else method.label


def scores(facts: Facts) -> str:
    if not facts.report:
        return "## How good it is\n\nIt was not judged: there are no scores on held-out rows."
    report = facts.report
    rows = [
        (
            f"{name} (lower is better)" if name in LOWER_IS_BETTER else name,
            *(f"{score[key]:.3f}" for key in ("base", "tuned")),
            f"{score['difference']:+.3f}",
            f"{score['low']:+.3f} to {score['high']:+.3f}",
        )
        for name, score in report["metrics"].items()
    ]
    told = (
        f"Base and tuned model answered the same {report['n']} held-out prompts with the same settings (greedy, up to "
        f"{report['settings']['max_new_tokens']} tokens), scored against the reference answers. The interval is that of the "
        "difference: paired bootstrap over the rows. Where it holds 0, the difference may be chance."
    )
    if report.get("left_out"):
        told += f" {len(report['left_out'])} rows were too long for the model and were left out."
    head = ("metric", "base", "tuned", "tuned minus base", "95 % interval")
    return f"## How good it is\n\n{told}\n\n{table(head, rows)}"


def merge_check(check: dict[str, Any]) -> str:
    return (
        "## Is the merge the model that was judged?\n\n"
        f"The merged weights ({check['dtype']}), loaded from disk again, were compared with {check['against']} on "
        f"{check['prompts']} prompts: {check['identical_answers']:.0%} of the greedy answers are identical, the logits differ "
        f"by {check['difference']:.2g} (root mean square; at most {check['max_logit_difference']:.2g}; the adapter itself "
        f"moves them by {check['effect']:.2g}), KL divergence {check['kl']:.2g} nats per token."
    )


def limits(facts: Facts) -> str:
    judged = f"{facts.report['n']} rows" if facts.report else "nothing"
    learned = (
        "rows that are not known here" if "origin" in facts.asked else f"{facts.asked['counts']['train']} conversations"
    )
    lines = [
        f"It learned from {learned} and was judged on {judged} of the same kind; nothing "
        "here says how it does on other tasks, other languages or longer texts.",
        "The errors and the bias of its base and of its examples are still in it. It was not tested for safety.",
        "Scores compare with one reference answer; another good answer in other words scores low.",
    ]
    return "## Limits\n\n" + "\n".join(f"- {line}" for line in lines)


def versions(facts: Facts) -> str:
    told = {"python": facts.asked["python"], **facts.asked["versions"]}
    return "## Made with\n\n" + ", ".join(f"{name} {version}" for name, version in told.items())


def file_name(facts: Facts) -> str:
    return plain(Path(facts.run.source.path).name)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def plain(words: str) -> str:
    """One line, whatever somebody wrote."""
    return " ".join(words.split())


def escape(words: str) -> str:
    """One line of somebody's text that is not read as Markdown or HTML."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~!])", r"\\\1", plain(words))


def code(words: str) -> str:
    """One line in code style; a backtick would end it."""
    return f"`{plain(words).replace('`', chr(39))}`"


def fenced(block: str, language: str = "") -> str:
    """A block of code; its fence is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`{3,}", block)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{block}\n{fence}"


def python_text(words: str) -> str:
    return '"' + plain(words).replace("\\", "\\\\").replace('"', '\\"') + '"'
