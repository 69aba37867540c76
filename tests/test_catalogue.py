"""The models offered by name are told rightly; what can't be trained is refused in a sentence before it is downloaded."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline import catalogue, config, model, unavailable
from pipeline.errors import UserError
from pipeline.schema import Model, TrainConfig
from tests.hub.server import Hub, Repo, serve

ROOT = Path(__file__).parents[1]
NAMED = {
    "tiny-chat", "HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-360M-Instruct",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen/Qwen2.5-3B-Instruct", "Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B", "Qwen/Qwen3-4B",
    "meta-llama/Llama-3.2-1B-Instruct", "meta-llama/Llama-3.2-3B-Instruct", "google/gemma-3-1b-it",
    "microsoft/Phi-3-mini-4k-instruct", "microsoft/phi-2", "facebook/opt-350m",
}  # fmt: skip
WEIGHTS = re.compile(r"\.(safetensors|bin) ")  # a line of the Hub's log about such a file
ASKER = """
import json, sys
from pipeline import model
from pipeline.errors import UserError
from pipeline.schema import Model
for line in sys.stdin:
    verb, name, revision = json.loads(line)
    try:
        found = getattr(model, verb)(Model(name, revision))
        print(json.dumps(vars(found) if verb == "describe" else type(found).__name__), flush=True)
    except UserError as error:
        print(json.dumps(str(error)), flush=True)
"""


class Asker:
    """A process of its own that speaks with a Hub: the client reads the Hub's address once, when it is imported."""

    def __init__(self, process: Any, log: Path) -> None:
        self.process, self.log = process, log

    def __call__(self, name: str, verb: str = "describe", revision: str | None = None) -> Any:
        self.process.stdin.write(json.dumps([verb, name, revision]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return json.loads(line)


@contextmanager
def asker(url: str, cache: Path) -> Iterator[Asker]:
    values = {"HF_ENDPOINT": url, "HF_HOME": str(cache), "HF_HUB_OFFLINE": "0", "OMP_NUM_THREADS": "1"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    cache.mkdir(exist_ok=True)
    log = cache / "stderr.txt"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", ASKER], stderr=errors, env={**os.environ, **values}, **pipes
        ) as process,
    ):
        yield Asker(process, log)
        process.stdin.close()  # type: ignore[union-attr]


def files(tiny: Path, without: str = "", **configured: Any) -> dict[str, bytes]:
    """The bundled model as it would lie on the Hub, with another config."""
    found = {file.name: file.read_bytes() for file in tiny.iterdir() if file.name != without}
    values = {**json.loads(found["config.json"]), **configured} if configured else None
    return {**found, **({"config.json": json.dumps(values).encode()} if values else {})}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hf")


@pytest.fixture(scope="module")
def hub(tiny: Path) -> Iterator[Hub]:
    """One good model and one of every kind that can't be trained."""
    weights = (tiny / "model.safetensors").read_bytes()
    repos = {
        "good": files(tiny),
        "encoder-decoder": files(tiny, is_encoder_decoder=True),
        "classifier": files(tiny, architectures=["LlamaForSequenceClassification"]),
        "masked": files(tiny, architectures=["BertForMaskedLM"]),
        "pickled": {**files(tiny, "model.safetensors"), "pytorch_model.bin": weights},
        "quantized": files(tiny, quantization_config={"quant_method": "gptq", "bits": 4}),
        "untold": files(tiny, "chat_template.jinja"),
        "own-code": files(tiny, model_type="mine", auto_map={"AutoConfig": "mine.Config"}),
        "adapter": {"adapter_config.json": b"{}", "adapter_model.safetensors": weights},
        "gated-files": files(tiny),
    }
    with serve() as found:
        for name, content in repos.items():
            found.repos[f"alice/{name}"] = Repo(private=False)
            found.repos[f"alice/{name}"].commit(content)
        found.repos["alice/gated"] = Repo(private=False, gated=True)
        found.repos["alice/gated"].commit(files(tiny))
        found.fault("alice/gated-files/resolve", status=401, times=10**6, headers={"X-Error-Code": "GatedRepo"})
        yield found


@pytest.fixture(scope="module")
def ask(hub: Hub, cache: Path) -> Iterator[Asker]:
    with asker(hub.url, cache) as found:
        yield found


def test_every_model_is_offered_once():
    """Those that were asked for, each under a name that a config file may say."""
    ids = [offer.id for offer in catalogue.offers()]
    assert set(ids) == NAMED
    assert len(ids) == len(set(ids))
    for name in ids:
        assert config.locate_model(name, ROOT / "nowhere") == str(config.BUNDLED.get(name, name))


@pytest.mark.parametrize("offer", catalogue.offers(), ids=lambda offer: offer.id)
def test_an_offer_is_told_in_one_line(offer):
    """Every field is filled, the weights weigh about two bytes a parameter, and the line says what stands in the way."""
    size, download, licence, context, *warnings = offer.label.split(" · ")
    assert size[-1] in "MB"
    assert float(size[:-1]) > 0
    assert licence == offer.licence == licence.lower()
    assert context.endswith("context")
    assert offer.context >= 512
    assert ("not run by us" in warnings) == (offer.id not in config.BUNDLED) == bool(offer.download)
    assert ("no chat template" in warnings) == (offer.id in ("microsoft/phi-2", "facebook/opt-350m"))
    assert ("gated: needs access" in warnings) == (offer.id.partition("/")[0] in ("meta-llama", "google"))
    assert download == "no download" or 1.95 <= offer.download / offer.parameters <= 2.6
    assert TrainConfig(**(offer.recommended or {}))


def test_the_sentence_of_a_known_model():
    assert catalogue.find("HuggingFaceTB/SmolLM2-360M-Instruct").label == (
        "362M · 0.7 GB · apache-2.0 · 8k context · not run by us"
    )
    assert catalogue.find("Qwen/Qwen2.5-3B-Instruct").licence == "qwen-research"
    assert catalogue.find("nobody/nothing") is None


def test_the_bundled_model_is_offered_as_it_is(tiny):
    """Its line says what its files say, and its recommended settings are those of the example that trains it."""
    offer, facts = catalogue.find("tiny-chat"), model.describe(Model(str(tiny)))
    assert (facts.model, facts.template, facts.context) == ("tiny-chat", True, offer.context)
    assert facts.parameters == pytest.approx(offer.parameters * 1e9, rel=0.01)
    example = json.loads((ROOT / "examples" / "tiny-yoda.json").read_text())
    assert offer.recommended == {key: example[key] for key in example if key not in ("model", "source", "name")}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("HuggingFaceTB/SmolLM-360M-Instruct", "HuggingFaceTB/SmolLM2-360M-Instruct"),
        ("qwen3-1.7b", "Qwen/Qwen3-1.7B"),
        ("phi-2", "microsoft/phi-2"),
        ("tinychat", "tiny-chat"),
        ("zzz/zzz", None),
    ],
)
def test_the_nearest_offer_is_found_by_its_name(typed, meant):
    """A slip of the pen, another case, a missing owner; and nothing where nothing is like it."""
    assert catalogue.nearest(typed) == meant


def test_a_model_on_the_hub_is_described_without_its_weights(ask, hub, tiny):
    """Everything a page shows of a model, from a few small files."""
    before = len(hub.log)
    assert ask("alice/good") == {**vars(model.describe(Model(str(tiny)))), "model": "alice/good"}
    told = hub.log[before:]
    assert [line for line in told if line.startswith("GET") and "/config.json 20" in line]
    assert not [line for line in told if WEIGHTS.search(line)]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("alice/smollm2-360m-instruct", "There is no model 'alice/smollm2-360m-instruct' on the Hub that you may read; "
         "check the name. Did you mean HuggingFaceTB/SmolLM2-360M-Instruct?"),
        ("a--b/../c", "There is no model 'a--b/../c' on the Hub that you may read; check the name."),
        ("alice/gated", "alice/gated is gated: ask for access on HUB/alice/gated, then log in with a token of that account."),
        ("alice/gated-files", "alice/gated-files is gated: ask for access on HUB/alice/gated-files, then log in with a "
         "token of that account."),
        ("alice/encoder-decoder", "alice/encoder-decoder is an encoder-decoder model; choose a causal (decoder-only) one."),
        ("alice/classifier", "alice/classifier is a LlamaForSequenceClassification and writes no text; choose a causal "
         "language model."),
        ("alice/masked", "alice/masked fills gaps and reads in both directions; choose a causal (decoder-only) model."),
        ("alice/pickled", "alice/pickled can't be loaded: it has no weights in safetensors; other formats can run code "
         "and are not read."),
        ("alice/quantized", "alice/quantized is quantized already, and nothing could be merged into it; choose the "
         'original ("memory": "4-bit" quantizes it here).'),
        ("alice/untold", "This model has no chat template, so nobody knows where an answer begins; choose a chat model, or "
         "the template chatml, instruction, phi-2, plain, or a Jinja template of your own."),
        ("alice/own-code", "alice/own-code can't be loaded: it needs code of its own, which is never run here; choose a "
         "model that transformers knows."),
        ("alice/adapter", "alice/adapter has no config.json: it is an adapter; give the model it belongs to."),
    ],
)  # fmt: skip
def test_what_can_not_be_trained_is_refused_before_it_is_downloaded(ask, hub, name, sentence):
    """One sentence each: what was found and what to do; not a byte of weights was asked for."""
    before = len(hub.log)
    assert ask(name) == sentence.replace("HUB", hub.url)
    assert not [line for line in hub.log[before:] if WEIGHTS.search(line)]


def test_loading_refuses_with_the_same_sentence(ask, hub):
    """Training meets what the page said, and no conversion service is asked to make safetensors of a pickle."""
    for name in ("alice/pickled", "alice/encoder-decoder", "alice/gated", "alice/quantized"):
        assert ask(name, "base") == ask(name)
    assert ask("alice/good", revision="v9") == (
        "alice/good has no revision 'v9' on the Hub; leave it out for the newest."
    )


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (401, "Invalid credentials in Authorization header",
         "the Hub does not accept this machine's token; log in again, or unset HF_TOKEN."),
        (503, "", "it is not on this machine and the Hub has trouble (503); try again later."),
        (429, "", "it is not on this machine and the Hub has trouble (429); try again later."),
    ],
)  # fmt: skip
def test_a_hub_in_trouble_is_not_a_model_that_is_missing(ask, hub, status, message, reason):
    """A stale token, a Hub that is down or asks to wait: told as that, after one request."""
    before = len(hub.log)
    hub.fault(f"/api/models/alice/trouble{status}", status=status, times=9, headers={"X-Error-Message": message})
    assert ask(f"alice/trouble{status}") == f"alice/trouble{status} can't be loaded: {reason}"
    assert len(hub.log) == before + 1


def test_without_a_network_what_is_here_still_works(ask, cache):
    """At once: nothing is tried a second time. What is not here says so, and so does what is here without its weights."""
    described = ask("alice/good")
    assert ask("alice/good", "base") == "LlamaForCausalLM"
    ask("alice/untold")
    with asker("http://127.0.0.1:9", cache) as offline:
        assert offline("alice/good") == described
        assert offline("alice/good", "base") == "LlamaForCausalLM"
        assert offline("alice/elsewhere") == f"alice/elsewhere can't be loaded: {unavailable.NOT_HERE}"
        assert offline("alice/elsewhere", "base") == f"alice/elsewhere can't be loaded: {unavailable.NOT_HERE}"
        assert offline("alice/untold") == f"alice/untold can't be loaded: {unavailable.NOT_HERE}"
    assert "Retrying" not in (cache / "stderr.txt").read_text()


def test_the_hub_switched_off_is_told_as_no_network():
    """HF_HUB_OFFLINE, as in these tests."""
    with pytest.raises(UserError, match="not on this machine and the Hub can't be reached"):
        model.describe(Model("alice/good"))


def test_a_folder_that_is_no_model_is_refused(tiny, tmp_path):
    """Without a config, without weights, or gone."""
    with pytest.raises(UserError, match=r"has no config\.json: it is no model folder"):
        model.describe(Model(str(tmp_path)))
    (tmp_path / "config.json").write_bytes((tiny / "config.json").read_bytes())
    with pytest.raises(UserError, match="no weights in safetensors"):
        model.describe(Model(str(tmp_path)))
    with pytest.raises(UserError, match=r"^There is no folder .*/gone; restore it, or choose another model"):
        model.describe(Model(str(tmp_path / "gone")))
