"""Every noun of the pipeline, its defaults, help and checks, to and from JSON. Standard library only.

A dataclass that exists is valid: the checks run when it is made. One definition per setting: the form, the validation,
the JSON file, `--help` and the README's table are all drawn from the fields below.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import types
import typing
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict, TypeVar

from pipeline import methods
from pipeline.errors import UserError
from pipeline.methods import METHODS

T = TypeVar("T")

PARTS = ("train", "validation", "held_out")
SHAPES = ("messages", "sharegpt", "alpaca", "prompt/completion", "preference", "text")
COLUMN_ROLES = (
    "messages", "tools", "system", "prompt", "context", "completion", "history", "chosen", "rejected", "reasoning",
    "label", "text", "ignore",
)  # fmt: skip
CHOICES = ("keep", "drop", "fix")
FINDINGS = {
    "unreadable-row": ("drop",),
    "rejected-label": ("drop",),
    "missing-answer": ("drop",),
    "empty-prompt": ("drop",),
    "empty-text": ("drop",),
    "roles-out-of-order": ("drop", "fix"),
    "last-turn-not-assistant": ("fix", "drop"),
    "special-token": ("keep", "drop", "fix"),
    "non-printing": ("keep", "drop", "fix"),
    "secret": ("keep", "drop", "fix"),
    "email": ("keep", "drop", "fix"),
    "phone": ("keep", "drop", "fix"),
    "duplicate": ("drop", "keep"),
    "different-answers": ("keep", "drop"),
    "shared-prompt": ("drop",),
    "cut": ("keep", "drop"),
}
"""The kinds of findings that leave a choice, and which, the default first. A shared prompt is an error until chosen."""
PATTERN_ROLES = ("system", "prompt", "context", "completion", "text")
BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
"""What means something in a pattern: a doubled brace, a {column}, or a brace that should have been doubled."""
MEMORIES = ("auto", "32-bit", "16-bit", "8-bit", "4-bit")
TEMPLATES = ("own", "chatml", "instruction", "phi-2", "plain")


class Message(TypedDict):
    role: str
    content: str
    tool_calls: NotRequired[list[dict[str, Any]]]
    reasoning_content: NotRequired[str]


class Conversation(TypedDict):
    """TRL's own conversational shape."""

    messages: list[Message]
    tools: NotRequired[list[dict[str, Any]]]


class Row(TypedDict):
    """One line of train.jsonl, validation.jsonl or held_out.jsonl; `row` counts from 1 over the files it came from.

    `text` is plain text for continued pretraining: `messages` is empty then. `rejected` is the answer that was not
    preferred: it is kept for later, nothing here learns from it.
    """

    row: int
    messages: list[Message]
    tools: NotRequired[list[dict[str, Any]]]
    text: NotRequired[str]
    rejected: NotRequired[list[Message]]


@dataclass(frozen=True)
class Setting:
    """What a field's metadata says about it: everything a form, a check or a help text needs to know."""

    help: str
    group: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()


def setting(default: Any, help: str, group: str, **bounds: Any) -> Any:
    return field(default=default, metadata={"setting": Setting(help, group, **bounds)})


def settings(noun: type) -> dict[str, Setting]:
    """The settings of a dataclass by field name, in the order they are written."""
    return {f.name: f.metadata["setting"] for f in dataclasses.fields(noun) if "setting" in f.metadata}


@dataclass(frozen=True)
class Source:
    """Where the rows come from and how they are read. Paths are absolute once a run exists."""

    path: str
    held_out_path: str | None = None
    validation_path: str | None = None
    shape: str | None = setting(None, "Shape of the rows; recognised by itself when left out.", "Data", choices=SHAPES)
    columns: dict[str, str] | None = None
    more_paths: tuple[str, ...] = ()
    patterns: dict[str, str] | None = None
    choices: dict[str, str] | None = None
    system: str | None = setting(None, "System prompt put before every conversation that has none.", "Data")
    validation_share: float = setting(
        0.05, "Share of the rows that steers training (16 to 128 rows).", "Data", low=0, high=0.5
    )
    held_out_share: float = setting(
        0.05, "Share of the rows kept away until judging (16 to 128 rows).", "Data", low=0, high=0.5
    )
    seed: int = setting(42, "Seed of the split.", "Data", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        check(self)
        for column, role in (self.columns or {}).items():
            if role not in COLUMN_ROLES:
                raise UserError(f"columns: {column!r} has the role {role!r}; use one of {', '.join(COLUMN_ROLES)}.")
        for role, pattern in (self.patterns or {}).items():
            pattern_columns(role, pattern)
        for kind, choice in (self.choices or {}).items():
            if kind not in FINDINGS:
                raise UserError(f"choices: no finding is called {kind!r}; {nearest(kind, FINDINGS)}")
            if choice not in FINDINGS[kind]:
                raise UserError(f"choices: {kind}: {choice!r} can't be done; use {' or '.join(FINDINGS[kind])}.")


def pattern_columns(role: str, pattern: str) -> list[str]:
    """The columns a pattern names, in its order. Raises UserError where it is more than text and plain {column}."""
    if role not in PATTERN_ROLES:
        raise UserError(f"patterns: {role!r} can't be made from a pattern; use one of {', '.join(PATTERN_ROLES)}.")
    found = [match for match in BRACES.finditer(pattern) if match[0] not in ("{{", "}}")]
    for match in found:
        if match[1] is None:
            wish = "write {{ or }} for a brace that is text"
            raise UserError(f"patterns: {role}: a brace at character {match.start() + 1} that stands alone; {wish}.")
        if not match[1].strip() or set(match[1]) & set(".[]!:"):
            wish = "put only a column's name between the braces"
            raise UserError(f"patterns: {role}: {match[0]:.60} can't be filled in; {wish}, as in {{title}}.")
    if not found:
        raise UserError(f"patterns: {role}: names no column; put at least one between braces, as in {{title}}.")
    return [match[1].strip() for match in found]


@dataclass(frozen=True)
class Problem:
    """One kind of finding in the data: which rows (counted from 1, file order), and the sentence that says it.

    `choices` are what can be done about it, the default first, `chosen` is what is done, `effects` says of every choice
    what it would come to. Without choices it is only told. `count` is the number of rows.
    """

    kind: str
    rows: tuple[int, ...]
    sentence: str
    count: int = 0
    choices: tuple[str, ...] = ()
    chosen: str = ""
    effects: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", self.count or len(self.rows))


@dataclass(frozen=True)
class Prepared:
    """What a Source came to: the three parts, what was wrong, and how it was read.

    `evidence` is the sentence that says why the shape is believed. `files` are the files the rows are
    counted over, each (name, the row before its first); supplied validation and held-out files are not among them.
    `cut` says what is done with rows that are too long, which only tokens can tell: keep what is left, or drop.
    """

    train: tuple[Row, ...]
    validation: tuple[Row, ...]
    held_out: tuple[Row, ...]
    problems: tuple[Problem, ...]
    shape: str
    columns: dict[str, str]
    rows: int
    fingerprint: str
    evidence: str = ""
    files: tuple[tuple[str, int], ...] = ()
    cut: str = FINDINGS["cut"][0]

    def part(self, name: str) -> tuple[Row, ...]:
        return {"train": self.train, "validation": self.validation, "held_out": self.held_out}[name]


@dataclass(frozen=True)
class TrainConfig:
    """How an adapter is trained. Steps are optimizer steps; lengths are tokens; shares are between 0 and 1."""

    method: str = setting(
        "lora",
        "What is trained, and how: lora adds small matrices to the frozen base.",
        "Method",
        choices=tuple(METHODS),
    )
    memory: str = setting(
        "auto",
        "How the base is held: 8-bit needs half of 16-bit, 4-bit (NF4) a quarter; auto is what suits method and machine.",
        "Method",
        choices=MEMORIES,
    )
    rank: int = setting(16, "Size of the adapter: a higher rank can learn more.", "Method", low=1, high=512)
    alpha: int = setting(32, "Strength of the adapter; usually twice the rank.", "Method", low=1, high=1024)
    dropout: float = setting(0.05, "Share of the adapter's inputs dropped while training.", "Method", low=0, high=0.9)
    target_modules: str = setting(
        "all-linear", "Layers that get an adapter: all-linear, or names separated by commas.", "Method"
    )
    lora_plus_ratio: float = setting(
        16.0, "LoRA+: how many times faster the second matrix learns.", "Method", low=1, high=256
    )
    virtual_tokens: int = setting(20, "Prompt and prefix tuning: how many virtual words.", "Method", low=1, high=1024)
    new_tokens: str = setting("", "New tokens: those to add, separated by spaces, commas or lines.", "Method")
    last_layers: int = setting(2, "Last layers: how many of the base's layers are trained.", "Method", low=1, high=1024)
    epochs: float = setting(
        3.0, "Passes over the rows; beyond ten it learns by heart.", "Training", low=0.01, high=1000
    )
    max_steps: int = setting(
        0, "Stop after this many steps whatever the epochs say; 0 is no limit.", "Training", low=0, high=10**7
    )
    learning_rate: float = setting(
        0.0,
        "Size of each step; 0 is what suits the method (2e-4 for LoRA, 2e-5 for full fine-tuning).",
        "Training",
        low=0,
        high=1.0,
    )
    batch_size: int = setting(16, "Rows learned from in one step.", "Training", low=1, high=4096)
    micro_batch: int = setting(
        0,
        "Rows in memory at once; the rest of a batch is accumulated. 0 chooses: all on a CPU, up to 4 on a GPU.",
        "Speed and memory",
        low=0,
        high=4096,
    )
    max_length: int = setting(
        1024, "Longest row in tokens; longer ones are cut at the end, and counted.", "Training", low=8, high=2**20
    )
    loss_on: str = setting(
        "answers",
        "Which tokens are learned: every answer, only the last answer, or everything.",
        "Training",
        choices=("answers", "last answer", "everything"),
    )
    template: str = setting(
        "own",
        "How a conversation becomes text: own (the model's chat template), chatml, instruction, phi-2, plain, or a "
        "Jinja template.",
        "Training",
    )
    scheduler: str = setting(
        "linear", "How the learning rate falls over the run.", "Optimizer", choices=("linear", "cosine", "constant")
    )
    warmup: float = setting(0.03, "Share of the steps in which the learning rate rises.", "Optimizer", low=0, high=0.99)
    weight_decay: float = setting(0.0, "Pull of the trained weights towards zero.", "Optimizer", low=0, high=1)
    max_grad_norm: float = setting(
        1.0, "Longest gradient; longer ones are shortened. 0 is no limit.", "Optimizer", low=0, high=1000
    )
    optimizer: str = setting(
        "adamw_torch",
        "What turns gradients into steps; the 8-bit ones save memory in full fine-tuning.",
        "Optimizer",
        choices=("adamw_torch", "adamw_8bit", "paged_adamw_8bit", "adafactor", "sgd"),
    )
    packing: bool = setting(
        False,
        "Several short rows share one sequence, without seeing each other: faster on short rows.",
        "Speed and memory",
    )
    length_grouping: bool = setting(
        True, "Rows of similar length share a batch, so that little padding is computed.", "Speed and memory"
    )
    activation_checkpointing: str = setting(
        "auto",
        "Compute activations again instead of keeping them: less memory, a third more time. auto is on for a GPU.",
        "Speed and memory",
        choices=("auto", "on", "off"),
    )
    neftune: float = setting(
        0.0,
        "Noise on the embeddings while training (NEFTune); 5 is usual for chat, 0 is none.",
        "Optimizer",
        low=0,
        high=100,
    )
    attention: str = setting(
        "sdpa",
        "How attention is computed; flash_attention_2 needs its package and a GPU from compute capability 8.0 on.",
        "Speed and memory",
        choices=("sdpa", "eager", "flash_attention_2"),
    )
    seed: int = setting(42, "Same seed, same run.", "Optimizer", low=0, high=2**31 - 1)
    eval_steps: int = setting(
        0,
        "Steps between two looks at the validation rows; 0 makes about eight in a run.",
        "Looks and checkpoints",
        low=0,
        high=10**7,
    )
    save_steps: int = setting(
        0,
        "Steps between two checkpoints; 0 saves at every look at the validation rows.",
        "Looks and checkpoints",
        low=0,
        high=10**7,
    )
    keep_checkpoints: int = setting(
        3, "How many checkpoints stay on disk: the best one and the newest.", "Looks and checkpoints", low=2, high=1000
    )
    early_stopping: int = setting(
        0,
        "End after so many looks at the validation rows in a row without a better loss; 0 never ends early.",
        "Looks and checkpoints",
        low=0,
        high=1000,
    )
    samples: int = setting(
        3,
        "Validation prompts answered by base and tuned at every look; 0 is none.",
        "Looks and checkpoints",
        low=0,
        high=16,
    )
    tracker: str = setting(
        "none",
        "Where the curves are sent, too; each needs its package.",
        "Looks and checkpoints",
        choices=("none", "trackio", "tensorboard", "wandb"),
    )

    def __post_init__(self) -> None:
        check(self)
        check_template(self.template)
        methods.check(vars(self))
        if not self.target_modules.strip():
            raise UserError('target_modules is empty; write "all-linear" or layer names separated by commas.')
        if self.micro_batch and self.batch_size % self.micro_batch:
            raise UserError(
                f"micro_batch {self.micro_batch} does not divide batch_size {self.batch_size}; choose one that does."
            )

    @property
    def rate(self) -> float:
        """The learning rate that is used."""
        return self.learning_rate or METHODS[self.method].rate

    @property
    def held(self) -> str:
        """How the base is held: `memory`, unless the method has only one way; trained weights are never 16-bit by default."""
        method = METHODS[self.method]
        only = method.memories[1:] if len(method.memories) == 2 else ("32-bit",) if method.family == "weights" else ()
        return only[0] if only and self.memory == "auto" else self.memory

    def steps(self, rows: int) -> int:
        """Optimizer steps of a whole run over so many rows (the last batch of an epoch may be short)."""
        planned = math.ceil(self.epochs * math.ceil(rows / self.batch_size))
        return min(planned, self.max_steps) if self.max_steps else max(1, planned)


@dataclass(frozen=True)
class Model:
    """The only way to name a model: a Hub id or an absolute path, and the adapter folder on top of it, if any."""

    base: str
    revision: str | None = None
    adapter: str | None = None
    memory: str = setting("auto", "How the base is held.", "Method", choices=MEMORIES)
    template: str = setting("own", "What makes text of a conversation, as TrainConfig has it.", "Training")
    new_tokens: str = setting("", "Tokens that its own tokenizer does not have, as TrainConfig has them.", "Method")
    attention: str = "sdpa"
    virtual_tokens: int = 0

    def __post_init__(self) -> None:
        check(self)
        check_template(self.template)


@dataclass(frozen=True)
class Decoding:
    """How an answer is chosen from what the model predicts. Both sides of a comparison always get the same."""

    max_new_tokens: int = setting(256, "Longest answer, in tokens.", "Answer", low=1, high=2**20)
    temperature: float = setting(
        0.0, "0 always takes the likeliest word (greedy); higher answers vary more.", "Answer", low=0, high=5
    )
    top_p: float = setting(
        1.0,
        "Only the likeliest words that together reach this share are drawn from; 1 is all of them.",
        "Answer",
        low=0.01,
        high=1,
    )
    seed: int = setting(42, "Same seed, same answer; it matters above temperature 0.", "Answer", low=0, high=2**31 - 1)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class Visitor:
    """Who asks the page for something: an owner may do everything, a guest chats with shared runs."""

    name: str
    owner: bool


@dataclass(frozen=True)
class Run:
    """What was asked: everything in config.json and source.json of a run folder."""

    model: str
    source: Source
    name: str
    config: TrainConfig = field(default_factory=TrainConfig)
    revision: str | None = None

    def __post_init__(self) -> None:
        if not self.model.strip():
            raise UserError('"model" is empty; give a Hub id or the path of a model folder.')

    def named(self, revision: str | None = None, adapter: str | None = None) -> Model:
        """Its model as it is trained, judged and merged: the base, how it is held, what makes tokens, the adapter if any."""
        wanted = self.config
        return Model(
            self.model, revision or self.revision, adapter, wanted.held, wanted.template, wanted.new_tokens,
            wanted.attention, methods.virtual_tokens(vars(wanted)),
        )  # fmt: skip


@dataclass(frozen=True)
class Publication:
    """Where a run's model goes, as publish.json in its folder says. The token is no part of it and is never written."""

    repo: str = setting("", "Name on the Hub: your user name or organisation, a slash, the model's name.", "Publish")
    what: str = setting(
        "adapter",
        "What is uploaded: the adapter is small and needs its base; merged is larger and stands alone.",
        "Publish",
        choices=("adapter", "merged"),
    )
    private: bool = setting(True, "Only you, and whom you invite, can see it.", "Publish")

    def __post_init__(self) -> None:
        check(self)
        if self.repo.count("/") != 1 or not all(self.repo.split("/")):
            raise UserError(f"repo: {self.repo!r} is not a name on the Hub; write it as user/name.")


@dataclass(frozen=True)
class Event:
    """One line of events.jsonl. `kind` is one of EVENT_KINDS; `values` holds numbers and short texts, never a secret."""

    kind: str
    job: str
    time: float
    step: int | None = None
    values: dict[str, Any] = field(default_factory=dict)
    text: str = ""


EVENT_KINDS = (
    "started",
    "phase",
    "progress",
    "loss",
    "validation",
    "samples",
    "checkpoint",
    "fit",
    "note",
    "finished",
    "stopped",
    "failed",
)
FINAL_KINDS = ("finished", "stopped", "failed")


@dataclass(frozen=True)
class Score:
    """One metric over n held-out rows: both averages, and tuned minus base with its 95 % bootstrap interval."""

    base: float
    tuned: float
    difference: float
    low: float
    high: float
    n: int = 0


@dataclass(frozen=True)
class Check:
    """One line of a self-test: what was measured, the largest value that passes, and whether it did."""

    ok: bool
    value: float
    tolerance: float


@dataclass(frozen=True)
class Report:
    """What evaluation found: n held-out rows, scores by metric, and one entry per row with every text.

    `left_out` are held-out rows too long for the model; `adapter` is the fingerprint of what was judged. `measures` are
    scores of what is not better when higher; `identical` is how many ("n") of so many ("of") answers of the tuned side are
    the base's, word for word; `general` has one entry per task of the general pack.
    """

    n: int
    metrics: dict[str, Score]
    rows: tuple[dict[str, Any], ...]
    mode: str
    self_test: dict[str, Check]
    settings: dict[str, Any]
    seconds: float
    left_out: tuple[int, ...] = ()
    adapter: str = ""
    measures: dict[str, Score] = field(default_factory=dict)
    identical: dict[str, int] = field(default_factory=dict)
    general: tuple[dict[str, Any], ...] = ()


def check(noun: Any) -> None:
    """Refuse a value outside its setting's type, bounds or choices. Raises UserError naming the key, value and wish."""
    hints = typing.get_type_hints(type(noun))
    for name, wish in settings(type(noun)).items():
        value = getattr(noun, name)
        if value is None and type(None) in typing.get_args(hints[name]):
            continue
        _convert(hints[name], value, name)
        if wish.choices and value not in wish.choices:
            raise UserError(f"{name}: {value!r} is not one of {', '.join(wish.choices)}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name}: {value} is not a number that can be used.")
        if wish.low is not None and wish.high is not None and not wish.low <= value <= wish.high:
            raise UserError(f"{name}: {value} is outside {wish.low:g} to {wish.high:g}.")


def check_template(template: str) -> None:
    """Refuse what is neither the name of a template nor one itself. Raises UserError."""
    if template not in TEMPLATES and not is_jinja(template):
        raise UserError(
            f"template: {template[:60]!r} is not one of {', '.join(TEMPLATES)}, and no Jinja template either (nothing in "
            "it is between {{ }} or {% %})."
        )


def is_jinja(template: str) -> bool:
    """Whether a template is given as text, not by name."""
    return "{{" in template or "{%" in template


def to_json(noun: Any) -> dict[str, Any]:
    return dataclasses.asdict(noun)


def from_json(noun: type[T], values: Any, where: str) -> T:
    """Make the noun from a parsed JSON object. `where` names the file or part in the UserError of a bad key or type."""
    if not isinstance(values, dict):
        raise UserError(f"{where}: expected a JSON object, found {type(values).__name__}.")
    hints = typing.get_type_hints(noun)
    known = {f.name: f for f in dataclasses.fields(noun)}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}; {nearest(key, known)}")
    for key, f in known.items():
        if key not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise UserError(f"{where}: {key!r} is missing.")
    return noun(**{key: _convert(hints[key], value, f"{where}: {key}") for key, value in values.items()})


def nearest(key: str, known: typing.Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.0)
    return f"did you mean {close[0]!r}?" if close else "no key is known here."


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        return _convert(next(a for a in arguments if a is not type(None)), value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return from_json(hint, value, where)
    if origin is dict and isinstance(value, dict):
        return {str(key): _convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(_convert(arguments[0], item, where) for item in value)
    if hint is Any:
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**1023:
        return float(value)
    wanted = origin or hint
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise UserError(f"{where}: expected {_word(wanted)}, found {json.dumps(value, default=str)[:60]}.")
    return value


def _word(wanted: Any) -> str:
    words = {
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        dict: "an object",
        tuple: "a list",
    }
    return words.get(wanted, str(wanted))
