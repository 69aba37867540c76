"""A third column beside base and tuned: another checkpoint or run of the same base, or the base with examples in its prompt.

Another adapter is loaded onto the same copy of the weights, and the self-test is made again for all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from peft import PeftConfig

from pipeline import checkpoints, dataset, jobs, self_test, sides, switch, template, weights
from pipeline.errors import UserError
from pipeline.forward import logits, peft_config
from pipeline.schema import Check, Decoding, Message
from pipeline.sides import Pair, Third

TRIED = 10  # rows looked at for each example that is wished for, until so many fit
LEAST_ANSWER = 16  # tokens that examples leave for the answer at least


def beside(pair: Pair, folder: Path, wish: Mapping[str, Any]) -> Pair:
    """A run's pair with a third column: {"kind": "checkpoint", "step": n}, {"kind": "run", "folder": path} or {"kind":
    "examples", "k": n}.

    Raises UserError when it can't stand beside this run's, and says why.
    """
    kind = wish.get("kind")
    if kind == "examples":
        return dataclasses.replace(pair, third=_prompted(folder, int(wish["k"])))
    if kind == "checkpoint":
        return _with_adapter(pair, _of_checkpoint(folder, int(wish["step"])), f"checkpoint {int(wish['step'])}")
    if kind == "run":
        return _with_adapter(pair, _of_run(folder, Path(str(wish["folder"]))), _name(Path(str(wish["folder"]))))
    raise UserError(f'A third column is "checkpoint", "run" or "examples", not {kind!r}.')


def leave(pair: Pair) -> None:
    """Take a second adapter off the weights again, if there is one."""
    if switch.OTHER in getattr(pair.adapted, "peft_config", {}):
        pair.adapted.delete_adapter(switch.OTHER)


def asked(pair: Pair, messages: Sequence[Message], decoding: Decoding) -> tuple[list[Message], int]:
    """What the "prompted" column is asked: the same with examples before it, as many as leave room, and their number.

    The longest prompt shortens the answers of all columns: examples take half of the free context at most for that.
    """
    assert pair.third is not None
    most = sides.context(pair)

    def tokens(said: Sequence[Message]) -> int:
        return len(template.prompt_ids(pair.reader("base"), pair.template, said))

    room = min(decoding.max_new_tokens, max(LEAST_ANSWER, ((most or 0) - tokens(messages)) // 2))

    def fits(longer: Sequence[Message]) -> bool:
        return most is None or tokens(longer) + room <= most

    return with_examples(messages, pair.third.examples, fits)


def with_examples(
    messages: Sequence[Message], examples: Sequence[Sequence[Message]], fits: Callable[[Sequence[Message]], bool]
) -> tuple[list[Message], int]:
    """Examples as turns after the system prompt and before what is asked, in their order, until one does not fit."""
    system = [message for message in messages[:1] if message["role"] == "system"]
    rest, taken = list(messages[len(system) :]), 0
    found: list[Message] = []
    for example in examples:
        if not fits([*system, *found, *example, *rest]):
            break
        found, taken = [*found, *example], taken + 1
    return [*system, *found, *rest], taken


def _prompted(folder: Path, count: int) -> Third:
    if count < 1:
        raise UserError(f"The base can't be given {count} examples; choose at least 1.")
    rows = dataset.read_part(folder, "train")[: TRIED * count]
    examples = [turns for row in rows if (turns := _turns(row))][:count]
    if not examples:
        raise UserError(
            "The rows of this run can't stand in a prompt as examples: none of the first is a plain question and answer."
        )
    return Third("prompted", f"base with {len(examples)} examples", tuple(examples))


def _turns(row: Any) -> list[Message]:
    """A row as an example: its turns without the system prompt, or nothing where it is text, or uses tools."""
    said = [message for message in row.get("messages") or () if message["role"] != "system"]
    whole = bool(said) and said[0]["role"] == "user" and said[-1]["role"] == "assistant" and not row.get("tools")
    return said if whole and {message["role"] for message in said} == {"user", "assistant"} else []


def _of_checkpoint(folder: Path, step: int) -> Path:
    checkpoint = folder / checkpoints.FOLDER / f"checkpoint-{step}"
    if not checkpoints.is_whole(checkpoint):
        steps = ", ".join(str(checkpoints.step(each)) for each in checkpoints.all_of(folder)) or "none"
        raise UserError(f"This run has no whole checkpoint of step {step}; it has: {steps}.")
    if jobs.load(folder).config.method == "pissa":
        raise UserError("Checkpoints of PiSSA belong to a base that was changed; compare with a whole run instead.")
    return checkpoint


def _of_run(folder: Path, other: Path) -> Path:
    if not (other / "adapter").is_dir():
        raise UserError(f"{_name(other)} has no adapter yet; choose a run that was trained.")
    ours, theirs = (jobs.read_json(run / "base.json") for run in (folder, other))
    for key, what in (("fingerprint", "base model"), ("revision", "version of the base model")):
        if ours[key] != theirs[key] or (ours["fingerprint"] is None and ours["model"] != theirs["model"]):
            raise UserError(f"{_name(other)} was trained on another {what} ({theirs['model']}, here {ours['model']}).")
    if ours["templates"] != theirs["templates"]:
        raise UserError(f"{_name(other)} was trained with another chat template; only runs of the same one compare.")
    if jobs.load(other).config.new_tokens:
        raise UserError(f"{_name(other)} has tokens of its own, which this run's model can't read or say.")
    return other / "adapter"


def _name(folder: Path) -> str:
    return jobs.load(folder).name if (folder / "config.json").exists() else folder.name


def _with_adapter(pair: Pair, adapter: Path, label: str) -> Pair:
    """The pair with a second adapter on its weights; base and tuned must be what they were before."""
    _check_kinds(pair, adapter)
    probe = sides.probes(pair.reader("base"), pair.template, pair.tokenizer, pair.adapted.device)
    leave(pair)
    with switch.only(pair.adapted, switch.BASE):
        bare = logits(pair.adapted, probe)
    try:
        pair.adapted.load_adapter(str(adapter), adapter_name=switch.OTHER)
        complete = sides.complete(pair.adapted, adapter, switch.OTHER)
    except (RuntimeError, ValueError, KeyError, UserError) as error:
        leave(pair)
        if isinstance(error, UserError):
            raise
        raise UserError(f"{label} does not fit this base: {' '.join(str(error).split())[:300]}") from error
    pair.adapted.eval()
    mode, checks = self_test.proven(pair.adapted, probe, bare, (switch.ADAPTER, switch.OTHER))
    whole: dict[str, Check] = {"adapter_complete": pair.self_test["adapter_complete"], "other_complete": complete}
    return dataclasses.replace(pair, mode=mode, self_test={**checks, **whole}, third=Third("other", label))


def _check_kinds(pair: Pair, adapter: Path) -> None:
    """Raises UserError where two can't live on one copy of the weights."""
    wish = "compare them in two conversations"
    ours, theirs = peft_config(pair.adapted), _config(adapter)
    if ours is None or theirs is None:
        raise UserError(f"A run that trained the base's own weights can't share them with another; {wish}.")
    if type(ours) is not type(theirs):
        raise UserError(f"{ours.peft_type.value} and {theirs.peft_type.value} can't be on one model at once; {wish}.")
    if ours.is_prompt_learning:
        raise UserError(f"Two runs of virtual tokens can't be on one model at once; {wish}.")
    if pair.own_tokenizer is not None:
        raise UserError(f"This run has tokens of its own, which another one can't read; {wish}.")
    sides.stored(adapter)


def _config(adapter: Path) -> Any:
    """PEFT's config of an adapter; None where the base's own weights were trained."""
    if (adapter / weights.FACTS).exists() or not (adapter / "adapter_config.json").exists():
        return None
    try:
        return PeftConfig.from_pretrained(str(adapter))
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise UserError(f"{adapter} can't be read ({error}); restore it, or train again.") from error
