"""Every text of the page that is not a setting's own help, in one place, by where it is read."""

# --- everywhere
TITLE = "Tuning Fork"
DISK_FULL = "The disk is full or can't be written to; free some space and try again. Nothing that was there is lost."
BUG = "A fault of the app, not yours ({kind}); its log tells more. Nothing you made is lost."
NOT_FOR_GUESTS = (
    "Only the owner may {to} here. Guests can chat with the shared runs under Compare; the owner signs in with the "
    "button at the top."
)
NO_RUN_CHOSEN = "No run is chosen; pick one at the top of the page, or train one."
NO_SUCH_RUN = "There is no run {name!r} that you may see; pick one from the list at the top."
GUEST = (
    "**You are a guest here.** Chat with the shared models under Compare. The owner of this Space can sign in to bring "
    "data, train and publish."
)
HELLO = "Teach a language model something from your examples, and hear whether it really got better."

# --- the run at the top
RUN = "Run"
RUN_HELP = "What Train, Compare and Publish show: one training, with everything that came of it."

# --- the tabs
DATA_TAB = "1 · Data"
TRAIN_TAB = "2 · Train"
COMPARE_TAB = "3 · Compare"
PUBLISH_TAB = "4 · Publish"

# --- Data
EXAMPLES_LABEL = "Start with an example"
EXAMPLES = {
    "tiny-yoda": "tiny-yoda · object first, for the bundled model",
    "yoda": "yoda · the same habit, for a full-size model",
    "support": "support · a help desk's house style and facts",
    "summaries": "summaries · a paragraph in one sentence",
    "sharegpt": "sharegpt · conversations of several turns",
    "alpaca": "alpaca · short instructions with answers",
}
UPLOAD = "Or your own files: CSV, JSON, JSONL, Parquet, Excel, text"
TYPE_ROWS = "Or type or paste rows"
TYPED_HEADS = ("prompt", "completion")
TYPED_LABEL = "One example a line: what is asked, and the answer that is wanted"
USE_ROWS = "Use these rows"
TYPED_FILE = "typed rows.jsonl"
NOTHING_TYPED = "There is no row with a prompt and an answer yet; fill in both, then press “Use these rows”."
HUB_DATASET = "Or a dataset on the Hub"
HUB_REPO = "Its name"
HUB_REPO_HINT = "user/name, or the address of its page"
HUB_TOKEN = "Read token"
HUB_TOKEN_HELP = "Only for gated and private datasets. It is used for this and kept nowhere."
HUB_LOOK = "Look at it"
HUB_LOOKING = "Asking the Hub …"
HUB_LOOK_FIRST = "No dataset was looked at yet; give its name and press “Look at it”."
HUB_CONFIG = "Config"
HUB_SPLIT = "Split"
HUB_CHOOSE = "It has several configs, and none is the usual one; choose one above."
HUB_FIRST_OF = "The first {n} of {total} rows"
HUB_FIRST = "The first {n} rows; how many there are is not told"
HUB_USE = "Use these rows"
HUB_STOP = "Stop fetching"
HUB_STOPPING = "Stopping …"
HUB_FETCHING = "Fetching:"
HUB_FETCHED = "Fetched, and chosen. The rows are kept here like an uploaded file."
READ_AS = "Model, template, system prompt, what is learned"
CORRECT = "How the columns are read"
COLUMN_HEADS = ("Column", "First values", "Is")
ROLE_OF = "What column {column} is"
ROLE_CHOICES = {
    "messages": "the whole conversation",
    "tools": "the tools it may call",
    "system": "the system prompt",
    "prompt": "the question",
    "context": "more of the question",
    "completion": "the answer",
    "history": "earlier turns",
    "chosen": "the better answer",
    "rejected": "the worse answer (not learned)",
    "reasoning": "the thinking before the answer",
    "label": "good or bad (only good is learned)",
    "text": "plain text",
    "ignore": "not used",
}
MORE_COLUMNS = "and {n} more columns, not used"
PATTERN_LABELS = {"prompt": "Pattern of the question", "completion": "Pattern of the answer"}
PATTERN_HELP = {
    "prompt": "To join columns: {title}, then {body}. Leave empty to use the column chosen above.",
    "completion": "The same for the answer.",
}
FIRST_ROWS = "So the first rows read"
BAD_FIELD = "The page sent something it never offers; reload it and try again."
CHOICE_WORDS = {"keep": "Keep", "drop": "Leave out", "fix": "Mend"}
CHOICE_OF = "What to do about: {finding}"
MAP_BY_HAND = "Say below which column is the question and which the answer."
DATA_MODEL = "Model"
DATA_MODEL_HELP = "Its own tokens and chat template are used below; the same choice as under Train."
NEXT_TRAIN = "Next: train"
NOTHING_CHOSEN = "No data is chosen; pick an example or upload a file under Data."
READING = "Reading …"
READING_FILE = "Reading {name} …"
COUNTING = "counting …"
OF_EXAMPLES = "one of the examples"
OF_UPLOADS = "your file"
SHAPE_WORDS = {
    "messages": "conversations",
    "sharegpt": "ShareGPT conversations",
    "alpaca": "Alpaca instructions",
    "prompt/completion": "pairs of a question and an answer",
    "preference": "answers that were preferred to others",
    "text": "plain text",
}
ROLE_WORDS = {
    "messages": "the messages",
    "tools": "the tools",
    "system": "the system prompt",
    "prompt": "the question",
    "context": "more of the question",
    "completion": "the answer",
    "history": "earlier turns",
    "chosen": "the preferred answer",
    "rejected": "the answer not learned",
    "reasoning": "the thinking",
    "label": "good or bad",
    "text": "the text",
}
MORE_HELD_OUT = "The {n} held-out rows are in {name}."
READ_SHAPE = "{rows} rows, read as {shape}: {columns}."
COLUMN = "{role} in “{column}”"
NOT_USED = "{columns} not used"
PART_WORDS = {
    "train": ("Train", "learned from"),
    "validation": ("Validation", "steers training"),
    "held_out": ("Held out", "only judges"),
}
LENGTH_FACT = "tokens in a typical row, {max} in the longest"
SHARE_FACT = "of all tokens are learned"
STATISTICS = "Lengths, cuts and shares"
TOKENS_PER_ROW = "Tokens per row"
ONE_ROW, ONE_MORE_ROW, ONE_TURN, USABLE_ROW = "row", "more row", "turn", "usable row"  # an s is put behind for several
RUN_WOULD_STOP = "a run would stop before it begins; see below"
LOOKS_LIKE_CLASSES = "this looks like classification: try a small encoder first"
SAMPLE = "sample"
SAMPLE_OF = "A sample of {rows:,} of {of:,} rows, drawn at random; the exact figures follow."
TALLEST_BAR = "The tallest bar is {rows} of {span}."
SPAN, SPAN_OPEN = "{low:,} to {high:,} tokens", "{low:,} tokens and more"
AXIS, AXIS_OPEN = "tokens", "{low:,}+ tokens"
HISTOGRAM_SAID = "Histogram of {rows} by length: half have at most {half:,} tokens, 95 % at most {most:,}, the longest has {longest:,}."
CUT_SAID = "Max length {cut:,} {said}."
CUTS_SOME, CUTS_NONE = "cuts {rows}", "cuts no row"
SHARE_CUT, NONE_CUT = "{share} of the rows are cut", "no row is cut"
MAX_LENGTH = "max length {n:,}"
PERCENTILES = {"p50": "50 %", "p90": "90 %", "p95": "95 %", "p99": "99 %", "max": "all"}
OF_THE_ROWS, AT_MOST = "of the rows", "at most"
UNDER_ONE, OVER_99 = "under 1 %", "over 99 %"
SUGGESTED = "Suggested max length: {n:,}, which holds {holds}{why}."
SUGGESTED_IS_SET = "It is the one that is set."
SET_SUGGESTED = "Set max length to {n:,}"
HOLDS_ALL, HOLDS_SHARE = "every row", "{share} of the rows"
HOLDS_ENOUGH = "; the few longer ones would make training pay for all"
HOLDS_CONTEXT = ", the most that this model reads"
NOTHING_LEARNED = "No token would be learned: every answer is cut away."
SHARES = "{learned} of the tokens are learned, {read} are only read."
TURNS_TITLE = "Turns per conversation"
TURNS_EACH = "Every conversation has {turns}."
MORE_TURNS = "more turns"
BROKEN_OFF = "Answers broken off by the cut: {n:,}"
WHICH_ANSWER, THE_ANSWER = "answer {n} of {of}", "the answer"
ENDS_AFTER = "{which} ends after {kept:,} of its {of:,} tokens"
AND_MORE = "and {rows}"
COUNTING_ROWS = "Counting the tokens of every row:"
ROWS_DONE = "{done} of {rows} rows"
ROWS_SO_FAR = "{n} rows so far"
SCAN = "Look for keys, e-mails and phone numbers"
SCAN_HELP = "What should not be learned by heart; it takes a moment for many rows and never leaves this machine."
SCANNING = "Looking through the rows:"
SCAN_TITLE = "What looks private"
SCAN_NOTHING = "Nothing that looks like a key, a password, an e-mail address or a phone number."
NO_PROBLEMS = "No problems found."
PROBLEMS = "What was found"
SHOW_ROWS = "Show"
MORE_ROWS = "and {n} more"
MORE_PROBLEMS = "and {n} more findings"
ROW = "Row"
PREVIOUS = "Previous"
NEXT = "Next"
NEXT_PROBLEM = "Next with a finding"
VIEWS = {"Text": "text", "Single tokens": "tokens"}
SPACES = "Show spaces"
FIND = "Find a row"
FIND_HINT = "words in it, then Enter"
TEMPLATE_CHOICE = "Chat template"
TEMPLATE_CHOICE_HELP = "How a conversation becomes text. A model that chats has its own."
TEMPLATES = {
    "The model's own": "own",
    "ChatML": "chatml",
    "### Instruction": "instruction",
    "Phi-2": "phi-2",
    "Plain": "plain",
}
ROW_TITLE = "Row {row}"
ROW_PART = {
    "train": "learned from",
    "validation": "steers training, is not learned from",
    "held_out": "kept away until judging",
}
ROW_FACTS = {
    "train": "{tokens} tokens, {n} learned",
    "validation": "{tokens} tokens; how likely the {n} marked ones are steers training",
    "held_out": "{tokens} tokens; the {n} marked ones are what both sides are judged by",
}
ROW_LOST = "The whole answer is cut off, so this row is left out; raise max length, or shorten the row"
ROW_DROPPED = "This row is too long, and such rows are left out, as was chosen under what is wrong"
ROW_CUT = "cut after {cut}"
AS_CONVERSATION = "The conversation"
AS_TRAINED = "What is learned of it"
AS_READ = "As the model reads it"
LEGEND = "Legend"
MARKED = {"train": "learned", "validation": "steers, not learned", "held_out": "judges, not learned"}
ONLY_READ, CUT_OFF = "only read", "cut off"
ASKED_EXACTLY = "What the model is asked afterwards, exactly ({n} tokens)"
ROLES = {"system": "System", "user": "User", "assistant": "Answer", "tool": "Tool"}
TOOLS_OFFERED = "Tools it may call: {names}"
MORE_TOKENS = "… and {n} more tokens; see them as text."
TOKEN_TITLE = "token {place}: id {id}"
ASK_BASE = "Ask the base this row"
ASK_BASE_HELP = "Hear what the model says before any training, beside the answer in your data."
NO_ANSWER_IN_ROW = "Row {row} has no answer to compare with; choose another."
BASE_STARTING = "Getting ready …"
BASE_PHASES = {
    "waiting for the device": "Getting the device …",
    "loading the model": "Loading the model; the first time takes longest …",
    "answering": "Answering …",
}
BASE_WAITING = "Waiting for the device: {whom}. The row is asked as soon as it is free."
ANSWER_IN_DATA = "The answer in your data"

# --- Train
LEARNS_FROM = "Learns from {file}"
LEARNS_FROM_NOTHING = "No rows are chosen yet: pick an example or upload a file under 1 · Data."
MODEL = "Model"
MODEL_HELP = "Or type a Hugging Face id."
PRESET = "How thorough"
PRESET_HELP = (
    "Quick look: one pass, to see whether it works at all. Balanced: right for most. Thorough: six passes, a larger "
    "adapter, and an early end when nothing is gained any more. It fills in the settings below; change what you like."
)
PRESETS = {"quick": "Quick look", "balanced": "Balanced", "thorough": "Thorough"}
RUN_NAME = "Name of the run"
RUN_NAME_HELP = "To find it again; the file's name when left empty."
TRAIN_ADVANCED = "Advanced"
SETTING_GROUPS = {
    "Method": "The method",
    "Training": "Steps",
    "Optimizer": "Optimizer",
    "Speed and memory": "Speed and memory",
    "Looks and checkpoints": "Looks and checkpoints",
}
SETTING_LABELS = {"lora_plus_ratio": "LoRA+ ratio", "neftune": "NEFTune noise"}
NEVER_MERGED = "It can't become one model with its base: {why}."
TIME_UNKNOWN = "The time is known after the first steps."
TIME_KNOWN = "About {time}, going by the run “{run}” with this model and method on this machine."
TIME_RECKONED = "About {time}, reckoned from the machine's speed."
TIME_RECKONED_HERE = "About {time}, reckoned from this machine's speed; the first run will tell better."
SECONDS, MINUTES, HOURS, DAYS = "{n} s", "{n} min", "{n} h", "{n} days"
FORECASTING = "Working out whether it fits …"
NO_FORECAST = "Whether it fits is known after the start."
THIS_MACHINE, THIS_GPU_MACHINE, THE_MACHINE = "this machine", "this machine ({name})", "the {name}"
FITS = "Fits on {machine}: needs about {peak} of its {memory} of {kind}."
FITS_JUST = (
    "Just about fits on {machine}: needs about {peak} of its {memory} of {kind}; two steps tried first will tell."
)
FITS_NOT = "Does not fit on {machine}: needs about {peak}, and it has {memory} of {kind}."
GPU_MEMORY, FREE_MEMORY = "GPU memory", "free memory"
MAKES_IT_FIT = "What would make it fit on {machine}:"
CHANGE = "{change} ({peak})"
NOTHING_FITS = "No change we know of makes it fit; choose a smaller model or a smaller max length."
START_ALL_THE_SAME = "You can start all the same: the longest rows are tried first, and where they are too much, fewer rows are held at a time."
RAM_SHORT = "Loading the model needs about {need} of RAM, and {of} is there."
DISK_SHORT = "The run needs about {need} on the disk, and {free} is free."
MEMORY_TERMS = {
    "weights": "the model itself",
    "quantization state": "to read its compressed numbers",
    "adapter": "what is trained beside the model",
    "CUDA context": "the GPU's own programs",
    "libraries": "the programs that train",
    "optimizer": "what it keeps of earlier steps",
    "gradients": "which way to change what is trained",
    "activations": "what a step remembers on its way",
    "logits": "a score for every possible next token",
    "update": "copies while the weights change",
}
PARTS_MEAN = "What the parts of the memory are"
NEEDED = {True: "{peak} of {memory}", False: "{peak}; the line marks the {memory} there are"}
ROWS_AT_ONCE = {True: "1 row at a time", False: "{n} rows at a time"}
FREE, OVER = "{size} to spare", "{size} too much"
BAR_SAID = "Memory at its highest on {machine}: {peak} of {memory}. {parts}."
CORRECTED = "Corrected by what the run “{run}” really needed."
FORECAST_DETAILS = "Time, disk, RAM, other machines"
MACHINE = "Show the forecast for"
MACHINE_HELP = "The same settings elsewhere. Runs always start on this machine."
HERE = "This machine"
MACHINE_CHOICE = "{name} · {memory}"
RAM, DISK, TIME = "RAM", "Disk", "Time"
NEEDS, OF_WHOLE, OF_FREE = "about {need}", "about {need} of {there}", "about {need} of {there} free"
MACHINE_HEADS = ("machine", "memory", "needs", "fits", "time")
YES, NO = "yes", "no"
TIME_NOT_KNOWN = "?"
BY_HEART = (
    "{epochs:g} times over the same rows is learning by heart: it repeats them rather than learns from them. Up to ten "
    "is usual; three are often enough."
)
TRAINS = "Trains {trainable:,} of {total:,} parameters ({share:.3g} %)."
TRAINS_UNKNOWN = "How many parameters are trained is known after the start: {why}"
CHECKING_ROWS = "Checking every row before the start:"
SAVE_SETTINGS = "Save these settings"
LOAD_SETTINGS = "Load settings"
SETTINGS_FILE = "tuning-fork-settings.json"
NOT_SETTINGS = "{file} holds no settings: choose a JSON file that “Save these settings” made, or a run's config.json."
ROWS_GONE = (
    "The settings are those of the run, but its rows ({file}) are not here any more; choose rows under 1 · Data."
)
START = "Start training"
START_ANOTHER = "Start another run"
STARTING_RUN = "Starting …"
STOP_AND_KEEP = "Stop and keep"
CANCEL = "Cancel"
STOPPING = "Stopping …"
START_IT = "Start it"
RESUME = "Resume"
TRY_AGAIN = "Try again"
RESUME_FROM = "Resume from step {step:,}"
JUDGE_AGAIN = "Judge on the held-out rows"
REUSE = "Use its settings"
AS_SCRIPT = "Export as script"
NEXT_COMPARE = "Next: compare"
ALREADY_STARTING = "A run is being started this very moment; wait until it shows."
NO_MODEL = "No model is chosen; pick one or type a Hugging Face id."

# what the chosen run is doing, or what came of it
NOTHING_TRAINED = "No run is chosen."
NOTHING_TRAINED_HELP = "Press “Start training”: what it learns is shown here step by step, and stays after a reload."
RUN_STATES = {
    "new": "not started",
    "running": "working",
    "finished": "finished",
    "stopped": "stopped",
    "failed": "failed",
    "interrupted": "interrupted",
}
RUN_PHASES = {
    "starting": "Starting",
    "queued": "Queued",
    "waiting": "Queued",
    "loading libraries": "Loading libraries",
    "tokenizing": "Turning the rows into tokens",
    "loading model": "Loading the model",
    "measuring memory": "Trying out how much memory the longest rows need",
    "training": "Training",
    "evaluating": "Training: looking at the validation rows",
    "saving": "Saving",
    "answering": "Judging on the held-out rows",
    "measuring loss": "Judging on the held-out rows: measuring the loss",
    "merging": "Merging",
    "asking the judged model": "Merging: asking the judged model",
}
RUN_JOBS = {"evaluate": "Judging: ", "adopt": "Using the checkpoint: ", "merge": "Merging: ", "publish": "Publishing: "}
HANDING_OVER = "Getting ready to judge on the held-out rows"
SAVING_CHECKPOINT = "Training: saving a checkpoint"
BAR_ROWS = "rows"
DONE_OF = "{done:,} of {of:,}"
STEP_OF = "step {step:,} of {steps:,}"
ROW_OF = "row {step:,} of {steps:,}"
TIME_LEFT = "about {time} left"
TIME_SO_FAR = "for {time}"
RUN_PLAN = "{rows:,} rows, {epochs} = {steps:,} steps"
RUN_PLAN_SHORT = "{rows:,} rows, {epochs}"
EPOCHS = {True: "1 epoch", False: "{epochs:g} epochs"}
FACT_LOSS = "training loss"
FACT_VALIDATION = "validation loss"
FACT_RATE = "learning rate"
FACT_GRADIENT = "gradient norm"
FACT_SPEED = "tokens/s"
FACT_MEMORY = "memory, at most"
FACT_GPU = "GPU memory, at most"
FACT_TIME = "training took"
MEMORY_OF_RUN = "Memory: {said}."
WAS_FORECAST, WAS_MEASURED = "forecast {size}", "measured {size}"
WERE_TOO_MANY = ", as {n} were too many"
STOPPED_AT = "Stopped at step {step:,} of {steps:,}. {text}"
STOPPED_EARLY = "Stopped before the first step. {text}"
STOPPED_KEPT = "What it had learned is kept: compare it, or resume."
INTERRUPTED_AT = (
    "It was interrupted: its process ended before it was done, at step {step:,} of {steps:,}. "
    "Resume goes on from step {point:,}."
)
INTERRUPTED_EARLY = "It was interrupted: its process ended before the first step. Resume goes on from step {point:,}."
INTERRUPTED_JUDGING = "Trained, but judging was interrupted; resume it to see the scores."
JUDGING_FAILED = "Trained, but it could not be judged: {text}"
JUDGING_STOPPED = "Trained, but not judged: that was stopped."
FAILED_HELP = "To change a setting, press “Use its settings”, correct it and start another run."
NOT_STARTED = "It was made but never started; resume starts it."
NOT_JUDGED = "Trained. There were no held-out rows to judge it on."
RUN_DAMAGED = "This run can't be shown: {text}"
IS_BETTER = "Better on {n:,} held-out rows it has never seen, by: {measures}"
IS_WORSE = "Worse on {n:,} held-out rows it has never seen, by: {measures}"
IS_MIXED = "Mixed on {n:,} held-out rows it has never seen: better by {better}; worse by {worse}"
SHORT_METRICS = {
    "exact_match": "exact answers",
    "rouge1": "words in common",
    "rouge2": "word order",
    "rougeL": "word order",
    "rougeLsum": "word order",
    "token_f1": "words in common",
    "bleu": "word order",
    "chrf": "letters in common",
    "meteor": "words in common",
    "loss": "surprise at the reference",
    "perplexity": "surprise at the reference",
}
IS_UNDECIDED = "No clear difference on {n:,} held-out rows it has never seen"
SCORE_NAMES = {"exact_match": "answers exactly right", "rougeL": "overlap with the right answer", "loss": "loss"}
SCORE = "{base} → {tuned}"
SCORE_CHANGE = "{difference} ({low} to {high})"
SCORES_SAID = "Base → tuned, and the difference with its 95 % interval."
NOTES = "Notes"
LAST_LOG_LINE = "Last line of the log: {line}"

# the curve
CURVE_IMPORTED = "An imported adapter has no curve: it was trained elsewhere."
CURVE_EMPTY = "The curve begins with the first step."
CURVE_X = "step"
CURVE_Y = "loss (nats per token)"
CURVE_TRAIN = "training rows"
CURVE_VALIDATION = "validation rows"
CURVE_SAID = "Loss by step. "
CURVE_LAST = "{name}: {loss:.3f} at step {step:,}. "

# watch it learn
WATCH_IT_LEARN = "Watch it learn"
WATCH_HELP = (
    "The same questions at every look, to the base and to what has been learned so far. They are not learned from."
)
AT_STEP = "Step {step:,}"
WANTED = "Wanted:"
AS_WANTED = "as wanted"

# checkpoints
CHECKPOINTS = "Checkpoints"
CHECKPOINT = "Checkpoint"
CHECKPOINT_HEADS = ("step", "validation loss", "on disk", "")
CHECKPOINT_LABEL = "step {step:,}"
CHECKPOINT_LOSS = " · loss {loss:.3f}"
CHECKPOINTS_TAKE = (
    "Together {size} on disk: the best one and the newest are kept, so that training can go on from them."
)
IS_BEST = "best"
IS_USED = "in use"
USE_CHECKPOINT = "Use this checkpoint"
NO_CHECKPOINT = "No checkpoint is chosen; pick one from the list."
MORE_EPOCHS = "More epochs"
GO_ON = "Continue"
NO_EPOCHS = "More epochs is empty or not above 0; say how many passes over the rows are added."

# all runs
ALL_RUNS = "All runs"
NO_RUNS = "None yet."
RUN_HEADS = (
    ("", "name"), ("", "state"), ("aside", "model"), ("aside", "method"), ("aside number", "rows"),
    ("number", "validation loss"), ("aside", "training loss"), ("aside number", "disk"), ("", "when"),
)  # fmt: skip
IMPORTED = "imported"
SPARK = "training loss from {first:.2f} to {last:.2f}"
CHECKPOINTS_SIZE = "checkpoints: {size}"
RUN_TAKES = "“{name}”, the run that is chosen, takes {whole} on the disk, of which checkpoints {checkpoints}."
NEW_NAME = "Name"
RUN_ACTIONS = {
    "rename": "Rename",
    "compare": "Show both",
    "download": "Download as a zip",
    "delete": "Delete …",
}
WITH_ROWS = "Put the rows it learned from and was judged on into the zip, too"
DELETE_ASKS = (
    "Delete “{name}” for good? Its adapter, checkpoints, scores and rows go, {size}; what was published stays. It can't be "
    "undone. (The example that ships comes back when the app is started again.)"
)
DELETE_REALLY = "Delete for good"
KEEP_RUN = "Keep it"
BESIDE_WITH = "Show it beside another run"
BESIDE_LINES = "Thin: training rows. Thick: validation rows."
BESIDE_NO_CURVES = "Neither has a curve to show."
BESIDE_SAID = "Loss by step, both to one scale: {steps:,.0f} steps wide, from {low:.3f} to {high:.3f} high."
BESIDE_CAME = "What came of them"
BESIDE_ASKED = "Settings and rows that differ"
BESIDE_SAME = "Both were asked for the same, of the same rows."
BESIDE_STATE = "state"
BESIDE_LESS = " (less is better)"
NO_OTHER_RUN = "No other run is chosen; pick the one to show beside this one."
BRING = "Import an adapter"
BRING_WHAT = "Adapter"
BRING_WHAT_HELP = "Its name on the Hub, such as user/name, or its folder on this machine."
BRING_FILE = "Or a zip of it"
BRING_BASE = "Its base"
BRING_BASE_HELP = "Left empty, the one that the adapter itself names."
BRING_MEMORY = "How the base is held"
BRING_TOKEN_HELP = "Only for a private or gated one; it is kept nowhere."
BRING_JUDGE = "Judge it on the data that is chosen under 1 · Data"
BRING_JUDGE_HELP = "On the rows that a training on that data would hold out, so that both can be compared."
BRING_GO = "Import and check"
BRING_BOTH = "Both a name and a zip are given; empty one of them."
STOPPED_BEFORE = "Stopped before it began; no run was made."
MORE_EPOCHS_HELP = "Added to the epochs that were asked for, also where it ended before them."
ROWS_UNTIL_THEN = " Until then a start learns from {file}."
BRING_NOTHING = "No adapter is given; type its name on the Hub or its folder, or choose a zip."
BRING_PHASES = {
    "starting": "Getting ready …",
    "fetching": "Fetching its files …",
    "queued": "Waiting for the device: {whom}. It is checked as soon as it is free.",
    "checking": "Loading its base, and finding the place of every tensor …",
}

PARAMETERS = "{millions:,.0f} million parameters"
LAYERS = "{n} layers"
READS = "reads up to {tokens:,} tokens"

# --- Compare
CHAT_PART, JUDGE_PART, SCORES_PART = "Chat", "Judge blind", "Scores"
NO_RUN_YET = "No run is chosen. Pick one at the top, or train one under Train."
ABOUT = "Base is {model} as it came. Tuned is the same copy of its weights with what “{run}” has learned switched on."
ABOUT_NOTHING = "“{run}” has nothing to compare yet: it is {status}. Choose another run at the top, or see Train."
UNANSWERED = "Not answered: the page was left before that."
NOTHING_ASKED = "Ask both at once: click one of the prompts below, or type your own."
SIDES = {"base": "Base", "tuned": "Tuned"}
FRESH_TURN = "a new conversation"
REFERENCE = "What the data says (the reference)"
NO_TEXT = "(no text)"
ANSWER_FACTS = "{tokens} tokens · {speed:.0f} tokens/s · {ended}"
BY_ITSELF = "stopped by itself"
HIT_LIMIT = "hit the limit"
CUT_SHORT = "stopped by you"
FIRST_AFTER = "began after {first:.2f} s"
CHANGE_TURN = "Change"
CHANGE_TURN_LABEL = "Change message {n} and send it again"
CHANGING = "You are changing message {n}. Sending it drops {dropped}."
CHANGING_ONLY = "the answers it got"
CHANGING_MORE = "the answers it got and the {messages} after it"
ONE_MESSAGE, SEVERAL_MESSAGES = "message", "{n} messages"
CHANGING_LEAVE = "Leave it as it was"
NO_SUCH_TURN = "That message is not there any more; reload the page to see the conversation as it is."
ANSWER_AGAIN = "Answer again with another seed"
ASK_ONCE_MORE = "Ask again"
DRAWN = "Drawn at temperature {temperature:g} with seed {seed}."
GREEDY_AGAIN = (
    "At temperature 0 the likeliest answer is given, whatever the seed. Set Temperature to 0.7, say, under “How they "
    "answer”, and press it again."
)
NOTHING_TO_REPEAT = "There is no message to answer again; ask something first."
NO_SINGLE_QUESTION = "Row {row} is no held-out row that asks one thing, so the chat can't begin with it."
ANSWERED = "All sides have answered."
THOUGHT = "What it thought first ({n} words)"
THINKING = "Thinking: {n} words so far …"
MARK_WORDS = "Mark the words that differ"
MARKED_LEGEND = "Underlined: where the words differ. Base is held against Tuned, the others are held against Base."
GOES_ON = "In a conversation, each side goes on from"
GOES_ON_HELP = "What it is told that it answered before: its own words, or for all sides those of one."
GOES_ON_CHOICES = {
    "own": "its own answers",
    "base": "Base's answers",
    "tuned": "Tuned's answers",
    "third": "the third column's answers",
}
GOES_ON_NOTHING = (
    "There is no third column to go on from; choose one above, or let each side go on from its own answers."
)
WENT_ON = "All sides went on from the answers of {name}."
THIRD_COLUMN = "A third column"
THIRD_HELP = "Answers beside Base and Tuned. Choosing one begins a new conversation."
THIRD_KINDS = {
    "none": "None",
    "checkpoint": "Another checkpoint of this run",
    "run": "Another run of the same base",
    "examples": "The base with examples in its prompt",
}
THIRD_STEP = "Which checkpoint"
THIRD_STEPS = "Step {step}"
THIRD_RUN, THIRD_RUN_NAME = "Which run", "Run “{name}”"
THIRD_EXAMPLES = "How many examples"
THIRD_EXAMPLES_HELP = "The first rows that were learned from are put before your message: maybe prompting is enough."
PROMPTED_WITH, PROMPTED_WITH_ONE = "Base with {k} examples", "Base with 1 example"
THIRD_NO_STEP = "This run keeps no checkpoint to compare with; choose another kind of third column."
THIRD_NO_SUCH_STEP = "That checkpoint is not kept any more; choose another under “How they answer”."
THIRD_NO_RUN = (
    "There is no other run with an adapter on the same base; train one, or choose another kind of third column."
)
THIRD_NOT_FOR_GUESTS = "Examples are rows that were learned from, which only the owner may put into a prompt."
THIRD_NO_ROWS = (
    "The rows that this run has learned from are not here, so none can be put into a prompt; choose another kind."
)
THIRD_HOW_MANY = "Give a whole number of examples, 1 to {most}."
PROMPT = "Your message, to all sides at once"
PROMPT_HINT = "Type a message; Enter sends it, Shift+Enter makes a new line"
ASK = "Ask"
STOP = "Stop"
ROWS_OFFERED = "Or click a prompt from the held-out rows: neither side has seen them"
CLEAR = "New conversation"
DOWNLOAD = "Download conversation"
HOW_THEY_ANSWER = "How they answer"
SYSTEM_PROMPT = "System prompt"
SYSTEM_HELP = "Said to every side before the conversation; changing it begins a new one."
SHARE = "Guests may chat with this run"
SHARE_HELP = "They also see its held-out prompts and its scores, and nothing else."
NOTHING_TO_ASK = "The message is empty; type something to ask."
TOO_LONG_TO_ASK = "The message and the system prompt have {n:,} characters; shorten them to at most {most:,}."
GUESTS_ANSWER = "Guests may ask for answers of at most {most:,} tokens; lower “{name}”."
NO_SUCH_ROW = "That row is not offered any more; choose the run again to see its rows."
STARTING = "Getting ready …"
WAITING = "Waiting for the device: {whom}. Your question is asked as soon as it is free."
PHASES = {
    "waiting for the device": "Getting the device …",
    "loading the model": "Loading the model and checking which side is which …",
    "loading the third column": "Loading the third column and checking all three …",
    "answering": "Answering …",
}
NOT_TESTED_YET = "Which side is which is proven when the model is loaded, with the first question."
TRUSTED = "✓ Proven: each side is what it says"
CHANGES_NOTHING = "The adapter changes nothing: both sides are the base"
THIRD_CHANGES_NOTHING = "The third column's adapter changes nothing: it is the base"
NOT_TRUSTED = "✗ Not proven: don't trust which side is which"
SELF_TEST = (
    "With every load, before any answer is shown, both sides are measured by the numbers the model computes, on four "
    "short prompts:"
)
CHECK_SIGNS = {"good": "✓", "warn": "! note.", "bad": "✗ NO."}
IN_TURN = (
    "One after the other, because this kind of adapter can't be switched within a batch: a side begins only when the one "
    "before has ended, so it takes as long as all of them together."
)
UNMERGED = (
    "The adapter is added on the way here; merged into the base, as under Publish, the tuned model answers faster."
)

# --- Scores
SCORES_NO_RUN = "No run is chosen. Pick one at the top, or train one under Train."
SCORES_NOTHING_LEARNED = (
    "“{run}” has learned nothing yet: it is {status}. Its scores come when its training has finished."
)
SCORES_NO_ROWS = (
    "“{run}” has no held-out rows, so there is nothing to measure on. Start a run with more rows, or with a file of "
    "held-out rows of their own."
)
SCORES_NOT_YET = (
    "“{run}” has not been measured yet: its held-out rows are asked of both sides, and each answer is held against the "
    "one in the data."
)
SCORES_STOPPED = "Measuring was stopped. The answers given so far are kept; going on does not repeat them."
SCORES_CUT_OFF = "Measuring was cut off. The answers given so far are kept; going on does not repeat them."
SCORES_FAILED = "Measuring failed: {text}"
SCORES_TRAINING = "“{run}” is being worked on ({phase}); it is measured after that."
SCORES_MEASURING = "Measuring: {phase}"
SCORES_PHASES = {
    "queued": "waiting for the device",
    "starting": "getting ready",
    "loading libraries": "getting ready",
    "loading model": "loading the model and checking which side is which",
    "answering": "both sides answer",
    "asking everyday things": "both sides answer the everyday tasks",
    "measuring loss": "how likely each side finds the reference",
}
SCORES_DONE_OF = "{done:,} of {of:,}"
SCORES_LEFT = "about {time} left"
SCORES_BAR = "Rows measured"
MEASURE_NOW, MEASURE_ON, MEASURE_AGAIN = "Measure now", "Go on measuring", "Measure again"
STOP_MEASURING, STOPPING_MEASURING = "Stop measuring", "Stopping …"
NOT_MEASURING = "Nothing is being measured at the moment; there is nothing to stop."
VERDICT_TITLE = "What came of it"
VERDICT_LEVELS = {"good": ("✓", "good"), "warning": ("!", "look"), "bad": ("✗", "bad"), "plain": ("–", "note")}
METRICS = {
    "exact_match": ("Exactly the reference", "{:.1%}"),
    "rouge1": ("Words in common (ROUGE-1)", "{:.1%}"),
    "rouge2": ("Word pairs in common (ROUGE-2)", "{:.1%}"),
    "rougeL": ("Longest common order (ROUGE-L)", "{:.1%}"),
    "rougeLsum": ("The same by lines (ROUGE-Lsum)", "{:.1%}"),
    "token_f1": ("Words in common (token F1)", "{:.1%}"),
    "bleu": ("Runs of words in common (BLEU, by row)", "{:.1%}"),
    "chrf": ("Letters in common (chrF, by row)", "{:.1%}"),
    "meteor": ("Words in common, endings aside (METEOR without WordNet)", "{:.1%}"),
    "loss": ("Surprise at the reference (loss, nats per token)", "{:.3f}"),
    "perplexity": ("Perplexity of the reference", "{:.2f}"),
    "length_ratio": ("Length against the reference", "{:.2f}"),
    "repetition": ("Repeats itself", "{:.1%}"),
    "stopped": ("Stopped by itself", "{:.1%}"),
}
LEFT_OUT = "{n} rows were too long for the model and are left out."
INTERVAL = (
    "The interval says how sure the difference is: drawn again from such rows, 95 of 100 times it would lie within. An "
    "interval that holds 0 settles nothing."
)
BETTER, WORSE, SAME, NOT_SETTLED = "better", "worse", "the same", "not settled"
SCORES_TITLE = "Base and tuned against the answer in the data"
SCORES_OF = "Judged on {n} rows that neither side has seen."
SCORES_LEGEND = {
    "base": "base",
    "better": "tuned, better",
    "worse": "tuned, worse",
    "open": "tuned, the same or not settled",
    "span": "where tuned would fall with other such rows (95 of 100 times)",
}
LESS_IS_BETTER_TITLE = "Less is better here"
MEASURES_TITLE = "How they answer"
HIGHER, LOWER = "higher", "lower"
POINTS = "{:+.1f} points"
DUMBBELL = "{base} → {tuned}"
DUMBBELL_BY = "{difference} ({low} to {high}) · {n} rows"
DUMBBELL_BY_UNKNOWN = "{difference} ({low} to {high})"
DUMBBELL_SAID = (
    "{name}: base {base}, tuned {tuned}, difference {difference}, 95 % interval {low} to {high}, {n} rows: {verdict}"
)
METRIC_HINTS = {
    "length_ratio": "1 is as long as the reference",
    "repetition": "share of word runs that stood in the same answer before",
    "stopped": "the other answers ran into the limit",
}
GENERAL_TITLE = "Did it break anything?"
GENERAL_SAID = "Of {n} everyday tasks that have nothing to do with your rows, base solves {before} and tuned {after}."
GENERAL_CHANGES = {
    "broken": ("✗", "broken", "solved before, not any more"),
    "mended": ("✓", "mended", "not solved before"),
    "reworded": ("≈", "another answer", "as right or wrong as before"),
    "same": ("=", "the same answer", "word for word"),
}
GENERAL_COUNT = "{sign} {n} {word}"
GENERAL_WANTED = "Wanted: {text}"
GENERAL_ALL_SAME = "Both sides give the same answer to every one of them."
GENERAL_MISSING = "The everyday tasks were not asked when this was measured; measure again to hear them."
ROWS_TITLE = "Row by row"
SORT_ROWS = "Sort by"
SORTS = {
    "changed": "changed most",
    "worst": "worst for tuned (lost most against base)",
    "file": "as in the file",
}
SORT_BY_METRIC = "lowest for tuned: {name}"
SHOW_ROWS_THAT = "Show"
SHOWN_ROWS_THAT = {
    "all": "all rows",
    "changed": "where tuned answers otherwise than base",
    "identical": "where both answer the same",
    "stopped": "where tuned stopped by itself",
    "unstopped": "where tuned ran into the limit",
}
FIND_JUDGED = "Find"
FIND_JUDGED_HINT = "words in the question or an answer"
JUDGED_LABEL = "Judged rows"
JUDGED_HEADS = ("Row and question", "Base", "Tuned", "{name}")
JUDGED_COUNT = "{shown} of {of} rows."
JUDGED_PAGE = "Page {page} of {pages}"
JUDGED_NONE = "No row is like that; choose “all rows”, or empty the search."
NO_JUDGED_ROWS = "The rows themselves are not here: they were left out when this run was shared as a file."
SAME_AS_BASE = "the same"
BACK_A_PAGE, ON_A_PAGE = "Previous page", "Next page"
SAID_BY = {"system": "System", "user": "Asked", "assistant": "Answered before", "tool": "Tool"}
ROW_REFERENCE = "In the data"
ROW_SIDE_FACTS = "{tokens} tokens · {ended}"
DIFFERENCE_LEGEND = "Underlined is what only this side says."
ROW_SCORES_LABEL = "Scores of this row"
ASK_IN_CHAT = "Ask this in the chat"
PUT_INTO_CHAT = "Put its last message into the chat"
SAVE_CSV, SAVE_PARQUET = "Download as CSV", "Download as Parquet"
NOT_A_REPORT = "{run}/report.json holds no scores; the run's folder is damaged. Measure again."
REPORT_DAMAGED = "{text} Measure this run again."
NOT_SAVED = "The file could not be written: {text}"
NOTHING_TO_SAVE = "There are no scores to download yet; measure this run first."

# --- Judge blind: the owner's side
JUDGE_ABOUT = (
    "Which answers do people like better when they can't know whose they are? A round asks base and tuned the same prompts "
    "ahead of time; judges read both answers side by side, unnamed and shuffled, and choose."
)
JUDGE_GUEST = "Rounds are made by the owner. With a link from the owner you can judge one: open it in your browser."
NEW_ROUND = "New round"
ROUND_SOURCE = "Prompts"
ROUND_SOURCES = {
    "held-out": "Held-out rows: neither side has learned from them",
    "general": "Everyday tasks: did it forget anything else?",
    "pasted": "My own prompts",
}
ROUND_SHORT_SOURCES = {"held-out": "held-out rows", "general": "everyday tasks", "pasted": "own prompts"}
ROUND_TEXT = "Your prompts"
ROUND_TEXT_HELP = 'One per line; or JSON Lines with {"prompt": "..."} or {"messages": [...]} in each.'
ROUND_PROMPTS = "How many"
ROUND_PROMPTS_HELP = "30 settle a clear difference, a small one takes 100 or more. Count on a quarter of a minute each."
ROUND_CRITERIA = "Ask for 1 to 5 points, too"
ROUND_CRITERIA_HELP = "For fluency, relevance and correctness of each answer; judges may leave them out."
ROUND_MORE = "More settings"
ROUND_SYSTEM = "System prompt of the round"
ROUND_SYSTEM_HELP = "Put before tasks and your own prompts; held-out rows bring their own."
ROUND_SEED = "Seed of the round"
ROUND_SEED_HELP = "Decides which rows are drawn and which answer stands first; empty: a new one each time."
ROUND_LONGEST = "Longest answer in tokens"
ROUND_LONGEST_HELP = "Of both sides alike. Judges are not told that an answer was cut."
MAKE_ROUND = "Make the round"
ROUND_PICKED = "Round"
ROUND_PICKED_HELP = "The newest is the first."
ROUND_LABEL = "{state} · {n} {source} · {when}"
ROUND_STATES = {
    "answering": "being answered", "unanswered": "not answered yet", "ready": "ready", "open": "open for judges",
    "told": "result",
}  # fmt: skip
ROUND_COUNTED = "Prompts answered"
ROUND_ANSWERED = "Answered {done} of {of} prompts on both sides"
ROUND_GETTING_READY = "Loading the model and checking which side is which"
ROUND_LEFT = "about {time} left"
ROUND_STOPPED = "{done} of {of} prompts are answered. Nothing of that is lost: go on whenever you like."
ROUND_FAILED = "The answers could not be made: {text}"
GO_ON_ROUND = "Answer the rest"
STOP_ROUND = "Stop answering"
ROUND_READY = (
    "Both sides have answered every prompt ({of}). Open the round, then judge it yourself or send its link to others."
)
OPEN_ROUND = "Open for judges"
ROUND_LINK = "The link for judges"
ROUND_LINK_HELP = (
    "Whoever has it may judge this round, and see nothing else. A judge can stop at any time and go on later."
)
ROUND_LINK_HERE = (
    "Opens on this computer. Where the page is served to a network, whoever reaches it is its owner: use a Space to send "
    "links to others."
)
ROUND_OTHER_WEIGHTS = (
    "This result is of earlier weights: what this run has learned was replaced since. Make a new round."
)
JUDGE_HERE = "Judge here"
CLOSE_LINK = "Close the link"
LINK_CLOSED = (
    "The link is closed: nobody can judge with it any more. The votes are kept; open the round again for a new link."
)
NOBODY_JUDGED = "Nobody has judged yet."
JUDGES_SO_FAR = (
    "Who has judged how many of {of} prompts. What they chose is told when the round ends, to nobody before."
)
JUDGE_DONE = "{done} of {of}"
END_ROUND = "End the round …"
END_ASKS = "All who have begun are done ({n}). Ending tells the names and takes no more votes; it can't be taken back."
END_ASKS_EARLY = (
    "Not done: {who}. If you end the round now, every vote given so far counts, no more are taken, and the names are told; "
    "it can't be taken back."
)
END_REALLY = "End it and tell the names"
KEEP_OPEN = "Keep it open"
NOTHING_TO_END = "Nobody has voted in this round yet, so there is nothing to tell."
ROUND_NOT_READY = "Not all prompts are answered yet; wait for them, or answer the rest."
ROUND_GONE = "The run this link belongs to is not here any more; ask whoever sent you the link."
NO_ROUND_CHOSEN = "No round is chosen; make one first."
SAVE_VOTES = "All votes (CSV)"
SAVE_PAIRS = "Preference pairs (JSONL)"
SAVE_HELP = "The pairs are what people preferred, as {prompt, chosen, rejected}: ready to train on."

OUTCOMES = {"base": "Base", "tuned": "Tuned", "other": "Other", "prompted": "Prompted", "tie": "Tie", "bad": "Both bad"}
SHARE_SAID = "{name} wins {share:.0f} % of what was decided; 95 % interval {low:.0f} to {high:.0f} %."
AS_GOOD = "equally good"
ALL_PROMPTS = "Read all {n} prompts with both answers and their votes"
NOT_JUDGED_PROMPT = "Nobody voted on this one."
VOTE_SAID = "{name}: {choice}"
PREFERRED = " ✓ preferred"

# --- Judge blind: the judge's page
NAMELESS_JUDGE = "No name"
JUDGE_SENT_NOTHING = "What the page sent could not be read; reload it and try again."
JUDGE_SENT_TOO_MUCH = "That is too much to send at once; shorten the note."
JUDGE_PAGE = {
    "title": "Which answer is better?",
    "how": (
        "You will see a prompt and two answers to it, from two models in a random order; choose the one you find better. "
        "Every choice is saved at once: you can stop whenever you like and go on later in this browser."
    ),
    "name": "Your name, if you like (it stands beside your votes in the result)",
    "begin": "Begin",
    "progress": "How far you are",
    "undo": "Undo",
    "left": "Answer 1",
    "right": "Answer 2",
    "note": "A note on this prompt (optional)",
    "choose": "Which answer is better?",
    "vote_left": "Answer 1 is better",
    "vote_right": "Answer 2 is better",
    "vote_tie": "Equally good",
    "vote_bad": "Both bad",
    "no_script": "This page needs JavaScript.",
}
JUDGE_SCRIPT = {
    "how_many": "{of} prompts, about a quarter of a minute each. Keys 1 to 4 choose, too.",
    "at": "{item} of {of}",
    "roles": {"system": "Instructions", "user": "Prompt", "assistant": "Answered before", "tool": "Result of a tool"},
    "sides": {"left": "Answer 1", "right": "Answer 2"},
    "criteria": {"fluency": "Fluency", "relevance": "Relevance", "correctness": "Correctness"},
    "no_text": "(no text)",
    "rate": "Give points or add a note (optional)",
    "add_note": "Add a note (optional)",
    "thanks": "Thank you",
    "thanks_name": "Thank you, {name}",
    "all_done": "You have judged all {of} prompts. Which model won is told here once the round is ended by its owner.",
    "offline": "No connection: this may not have been saved. Press the same again in a moment.",
}

# --- Publish
MERGE_TITLE = "Make one model of it"
MERGE_HELP = (
    "Base and adapter become one model that any tool can load. It is opened again from disk and compared with the one "
    "you have judged; it is kept only if it is the same."
)
MERGE = "Merge and check"
NOT_MERGED = "Not merged yet. You can publish the adapter without it."
MERGE_STATES = {
    "new": "Not merged",
    "running": "Merging",
    "finished": "✓ Merged: the same model as the one that was judged",
    "stopped": "Stopped; nothing was kept",
    "failed": "✗ Not merged",
    "interrupted": "Interrupted; merge again",
}
SAME_ANSWERS = "of {n} answers are identical to the judged model's"
LARGEST_DIFFERENCE = "largest difference of any score it computes (logits)"
TYPICAL_DIFFERENCE = "typical difference; {tolerance:.1e} is allowed"
KL = "KL divergence, nats per token"
SAVED_AS = "number type it is saved in, its base's own"
STOP_JOB = "Cancel"
PUBLISH_TITLE = "Send it to the Hugging Face Hub"
REPO_HINT = "your-name/your-model"
TOKEN = "Access token"
TOKEN_HELP = "With write access. It is used for this upload and kept nowhere; empty uses this machine's own login."
TOKEN_SIGNED_IN = "Signed in with Hugging Face you can leave this empty."
PUBLISH = "Publish"
PUBLISH_STATES = {
    "new": "",
    "running": "Publishing",
    "finished": "✓ Published, and compared with what was sent",
    "stopped": "Stopped; publish again to go on",
    "failed": "✗ Not published",
    "interrupted": "Interrupted; publish again to go on",
}
PUBLISHED_FILES = "{n} files, revision {revision}"
UPLOADED = "Uploaded so far"
BYTES = "{done:.1f} of {total:.1f} MB · {file}"
JOB_PHASES = {
    "starting": "Starting …",
    "queued": "Waiting for the device …",
    "loading libraries": "Loading libraries …",
    "asking the judged model": "Asking the judged model, for comparison …",
    "merging": "Adding the adapter to the weights …",
    "checking": "Checking …",
    "preparing": "Preparing the files …",
    "uploading": "Uploading …",
    "comparing": "Comparing the Hub's files with ours …",
}
CARD = "The model card that goes with it"
NO_CARD = "The model card appears here once the run has an adapter."
NOT_ITS_JOB = "This run is being trained or judged, not merged or published; stop it under Train."
NOTHING_TO_CANCEL = "Nothing is being merged or published; there is nothing to cancel."
NO_TOKEN = (
    "Publishing needs an access token with write access; make one in your settings on the Hub and paste it into "
    "“Access token”."
)
