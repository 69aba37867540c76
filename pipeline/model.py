"""The only from_pretrained: device, dtype, quantization, adapters, and what identifies a base.

Rules: a CPU computes in 32 bit unless told otherwise; a GPU in bfloat16 from compute capability 8.0 on, else float16 (torch's own
is_bf16_supported counts emulation and says yes on a T4). Weights are read from safetensors only, no code from the Hub.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import (
    HFValidationError,
    HTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig
from transformers.utils import logging as transformers_logging

from pipeline import chat_templates, precision, template, unavailable, vocabulary
from pipeline.catalogue import ModelFacts
from pipeline.chat_templates import Template
from pipeline.config import portable_model
from pipeline.errors import UserError
from pipeline.files import fingerprint
from pipeline.schema import Model, is_jinja

ASK_SECONDS = 5.0  # how long the Hub may take to say which files a model has
FRESH_SECONDS = 60.0  # how long its answer is taken for granted
WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")  # what classes that write text are called

transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()  # what a person must know is told by our own events
# 8-bit layers tell with every call that they cast their inputs
logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
UNBUILT = (
    ImportError, NotImplementedError, RuntimeError, AttributeError, TypeError, ValueError, LookupError, ArithmeticError,
    AssertionError,
)  # fmt: skip
"""What building a model from a config of odd values raises; none of it tells what is wrong in a sentence."""


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half(family: str = "") -> torch.dtype:
    """The narrowest type this device computes a family (a config's model_type) in, natively and without overflow.

    On a CPU that is bfloat16, which is slow there but the less slow one.
    """
    capability = None if device().type == "cpu" else torch.cuda.get_device_capability()
    found: torch.dtype = getattr(torch, precision.half(capability, family))
    return found


def dtype(memory: str, family: str = "") -> torch.dtype:
    """The type the base's unquantized weights are held and computed in."""
    if memory == "32-bit" or (device().type == "cpu" and memory != "16-bit"):
        return torch.float32
    return half(family)


def tokenizer(model: Model) -> Any:
    """The base's tokenizer with the chosen chat template, a pad token that stops nothing, and the new tokens, if any."""
    loaded = _load(AutoTokenizer, model)
    if not loaded.is_fast:
        raise UserError(f"{model.base}: its tokenizer can't say which characters a token covers; choose another model.")
    chat_templates.put_on(loaded, model.template)
    loaded.pad_token = _pad_token(loaded)
    vocabulary.add_tokens(loaded, model.new_tokens)
    return loaded


def tokenizer_and_template(model: Model) -> tuple[Any, Template]:
    """What makes ids of a conversation. Raises UserError when the model's template, or the chosen one, can't be used."""
    loaded = tokenizer(model)
    return loaded, template.choose(loaded, stop_ids(model), pasted=is_jinja(model.template))


def _pad_token(tokenizer: Any) -> str:
    """Any token that is not the stop token: what is padded is masked, so that only stopping must not depend on it."""
    template = str(tokenizer.chat_template)
    reserved = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special and t.content not in template]
    candidates = [tokenizer.pad_token, tokenizer.unk_token, *reserved]
    return next((t for t in candidates if t and t != tokenizer.eos_token), tokenizer.eos_token)


def stop_ids(model: Model) -> list[int]:
    """The stop tokens the model's own generation_config names."""
    try:
        here = not find(model).online
        named = GenerationConfig.from_pretrained(model.base, revision=model.revision, local_files_only=here)
        found = named.eos_token_id
    except OSError:
        found = _load(AutoConfig, model).eos_token_id
    return [] if found is None else list(found) if isinstance(found, list | tuple) else [found]


def readable(model: Model, max_length: int) -> int:
    """The given number of tokens, or what virtual tokens leave of the model's context where that is shorter."""
    config = _load(AutoConfig, model).get_text_config()
    context = getattr(config, "max_position_embeddings", None)
    return min(max_length, max(0, context - model.virtual_tokens)) if context else max_length


def describe(named: Model) -> ModelFacts:
    """What is to be known of a base without its weights. Raises UserError, as training would, when it can't be used."""
    config = usable_config(named)
    read, _ = tokenizer_and_template(named)
    text = config.get_text_config()
    return ModelFacts(
        model=portable_model(named.base),
        parameters=_parameters(config),
        context=getattr(text, "max_position_embeddings", None),
        architecture=(config.architectures or [config.model_type])[0],
        dtype=str(config.dtype).removeprefix("torch.") if config.dtype else None,
        template=True,
        layers=getattr(text, "num_hidden_layers", None),
        vocabulary=len(read),
    )


def empty(config: Any) -> Any:
    """The model of a config without its values, on the meta device."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def _parameters(config: Any) -> int | None:
    """Counted on the model without its values; shared matrices count once. None where it can't be built like that."""
    try:
        return sum(parameter.numel() for parameter in empty(config).parameters())
    except UNBUILT:
        return None


def usable_config(named: Model) -> Any:
    """The config of a base that can be trained and merged. Raises UserError before anything large is downloaded."""
    found = find(named)
    if "config.json" not in found.names:
        what = "an adapter; give the model it belongs to" if "adapter_config.json" in found.names else "no model folder"
        raise UserError(f"{named.base} has no config.json: it is {what}.")
    if not any(name.startswith("model") and name.endswith(".safetensors") for name in found.names):
        complete = found.online or Path(named.base).is_dir()
        raise UserError(
            f"{named.base} can't be loaded: {unavailable.NO_SAFETENSORS if complete else unavailable.NOT_HERE}"
        )
    config = _load(AutoConfig, named)
    architectures = config.architectures or []
    if config.is_encoder_decoder:
        raise UserError(f"{named.base} is an encoder-decoder model; choose a causal (decoder-only) one.")
    if any(name.endswith("ForMaskedLM") for name in architectures):
        raise UserError(f"{named.base} fills gaps and reads in both directions; choose a causal (decoder-only) model.")
    if architectures and not any(name.endswith(WRITERS) for name in architectures):
        raise UserError(f"{named.base} is a {architectures[0]} and writes no text; choose a causal language model.")
    if getattr(config, "quantization_config", None):
        raise UserError(
            f'{named.base} is quantized already, and nothing could be merged into it; choose the original ("memory": '
            '"4-bit" quantizes it here).'
        )
    return config


@dataclass(frozen=True)
class Found:
    """The files a base has: in its folder, on the Hub, or (not `online`) as far as they are in the Hub's cache here."""

    names: frozenset[str]
    online: bool


_found: dict[Model, tuple[float, Found]] = {}


def find(named: Model) -> Found:
    """Where a base is. The Hub is asked once, not once per file with its client's patience (23 s for each, offline)."""
    key, folder = Model(named.base, named.revision), Path(named.base)
    if folder.is_dir():
        return Found(_names(folder), online=False)
    if folder.is_absolute():
        raise UserError(f"There is no folder {named.base}; restore it, or choose another model.")
    if key in _found and time.monotonic() - _found[key][0] < FRESH_SECONDS:
        return _found[key][1]
    try:
        asked = HfApi().model_info(named.base, revision=named.revision, timeout=ASK_SECONDS)
        found = Found(frozenset(file.rfilename for file in asked.siblings or []), online=True)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise UserError(unavailable.sentence(named, error)) from error
    except (HTTPError, OSError) as error:
        found = _cached(named, error)
    _found[key] = (time.monotonic(), found)
    return found


def _cached(named: Model, error: Exception) -> Found:
    """What the Hub's cache on this machine holds, when the Hub itself gives no answer."""
    config = try_to_load_from_cache(named.base, "config.json", revision=named.revision)
    if not isinstance(config, str):
        raise UserError(unavailable.sentence(named, error)) from error
    return Found(_names(Path(config).parent), online=False)


def _names(folder: Path) -> frozenset[str]:
    return frozenset(path.name for path in folder.iterdir())


def base(model: Model) -> Any:
    """The base model in eval mode, on its device, without any adapter. Raises UserError when it can't be had."""
    config = usable_config(model)
    check_attention(model.attention)
    options: dict[str, Any] = {"dtype": dtype(model.memory, config.model_type), "use_safetensors": True}
    if (
        model.attention != "sdpa"
    ):  # the library's own choice, too, and asked for by name it is refused where it can't be
        options["attn_implementation"] = model.attention
    if small := quantization(model.memory, options["dtype"]):
        options["quantization_config"] = small
    loaded, told = _load(
        AutoModelForCausalLM, model, device_map={"": str(device())}, output_loading_info=True, **options
    )
    if missing := sorted(told["missing_keys"]):  # transformers would draw them at random, others with every load
        raise UserError(
            f"{model.base}: {len(missing)} tensors of a {type(loaded).__name__} are not in its files (first: "
            f"{missing[0]}); download it again, or choose a causal language model."
        )
    return loaded.eval()


def quantization(memory: str, compute: torch.dtype) -> BitsAndBytesConfig | None:
    """NF4 with its scales quantized, too (Dettmers et al. 2023, arXiv 2305.14314), or LLM.int8 (arXiv 2208.07339)."""
    if memory == "4-bit":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if memory == "8-bit" else None


def check_attention(attention: str) -> None:
    """Raises UserError for FlashAttention where its package or its GPU is missing."""
    if attention != "flash_attention_2":
        return
    wish = 'choose "sdpa", which is fast everywhere'
    if device().type == "cpu" or torch.cuda.get_device_capability() < (8, 0):
        raise UserError(f"attention: flash_attention_2 needs a GPU from compute capability 8.0 on; {wish}.")
    if importlib.util.find_spec("flash_attn") is None:
        raise UserError(f"attention: flash_attention_2 needs the package flash-attn; install it, or {wish}.")


def _load(kind: Any, model: Model, **options: Any) -> Any:
    here = {"local_files_only": not find(model).online}
    if kind is AutoModelForCausalLM:  # looks for an adapter beside the model, and takes no word but this for that
        options["adapter_kwargs"] = here
    try:
        return kind.from_pretrained(model.base, revision=model.revision, trust_remote_code=False, **here, **options)
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(unavailable.sentence(model, error)) from error
    except (StrictDataclassError, LookupError, AttributeError, ArithmeticError) as error:
        if kind is not AutoConfig:
            _load(AutoConfig, model)  # which a tokenizer reads as well: says so where that is the reason
            raise
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"{model.base} can't be loaded: its config.json has a value that can't be ({said}); download it again, or "
            "choose another model."
        ) from error
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise UserError(f"{model.base} can't be loaded: its tensors have other shapes than its config says.") from error


def compute_dtype(loaded: Any) -> torch.dtype:
    """The type a loaded model computes in: that of its output embedding, which is never quantized."""
    return loaded.get_output_embeddings().weight.dtype


def identity(model: Model) -> dict[str, Any]:
    """What tells this base from another: the commit on the Hub, or a fingerprint of a local folder's files."""
    folder = Path(model.base)
    if folder.is_dir():
        return {"model": portable_model(model.base), "revision": None, "fingerprint": fingerprint(folder)}
    commit = getattr(_load(AutoConfig, model), "_commit_hash", None)
    return {"model": model.base, "revision": commit or model.revision, "fingerprint": None}
