"""The only from_pretrained: device, dtype, quantization, adapters, and what identifies a base.

Rules: a CPU computes in 32 bit unless told otherwise; a GPU in bfloat16 from compute capability 8.0 on, else float16 (torch's own
is_bf16_supported counts emulation and says yes on a T4). Weights are read from safetensors only, no code from the Hub.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, GenerationConfig
from transformers.utils import logging as transformers_logging

from pipeline.errors import UserError
from pipeline.schema import Model

BLOCK, BLOCKS = (
    1 << 20,
    64,
)  # what a fingerprint reads of a file: all of a small one, evenly spread blocks of a large one
FINGERPRINTED = {".safetensors", ".json", ".jinja", ".model", ".txt"}

transformers_logging.disable_progress_bar()
transformers_logging.set_verbosity_error()  # what a person must know is told by our own events


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def half() -> torch.dtype:
    """The 16-bit type this device computes in natively; on a CPU bfloat16, which is slow there but the less slow one."""
    if device().type == "cpu" or torch.cuda.get_device_capability() >= (8, 0):
        return torch.bfloat16
    return torch.float16


def dtype(memory: str) -> torch.dtype:
    """The type the base's unquantized weights are held and computed in."""
    if memory == "32-bit" or (device().type == "cpu" and memory != "16-bit"):
        return torch.float32
    return half()


def tokenizer(model: Model) -> Any:
    """The base's tokenizer, with a pad token that stops nothing."""
    loaded = _load(AutoTokenizer, model)
    if not loaded.is_fast:
        raise UserError(f"{model.base}: its tokenizer can't say which characters a token covers; choose another model.")
    loaded.pad_token = _pad_token(loaded)
    return loaded


def _pad_token(tokenizer: Any) -> str:
    """Any token that is not the stop token: what is padded is masked, so that only stopping must not depend on it."""
    template = str(tokenizer.chat_template)
    reserved = [t.content for t in tokenizer.added_tokens_decoder.values() if t.special and t.content not in template]
    candidates = [tokenizer.pad_token, tokenizer.unk_token, *reserved]
    return next((t for t in candidates if t and t != tokenizer.eos_token), tokenizer.eos_token)


def stop_ids(model: Model) -> list[int]:
    """The stop tokens the model's own generation_config names."""
    try:
        found = GenerationConfig.from_pretrained(model.base, revision=model.revision).eos_token_id
    except OSError:
        found = _load(AutoConfig, model).eos_token_id
    return [] if found is None else list(found) if isinstance(found, list | tuple) else [found]


def check_vocabulary(loaded: Any, tokenizer: Any) -> None:
    """Raises UserError when the tokenizer has tokens that the model's embedding knows nothing of."""
    known = loaded.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > known:
        raise UserError(
            f"The tokenizer has {len(tokenizer)} tokens and the model knows {known}; they don't belong together."
        )


def readable(model: Model, max_length: int) -> int:
    """The given number of tokens, or the model's context where that is shorter."""
    config = _load(AutoConfig, model).get_text_config()
    return min(max_length, getattr(config, "max_position_embeddings", None) or max_length)


def base(model: Model) -> Any:
    """The base model in eval mode, on its device, without any adapter. Raises UserError when it can't be had."""
    config = _load(AutoConfig, model)
    if config.is_encoder_decoder:
        raise UserError(f"{model.base} is an encoder-decoder model; choose a causal (decoder-only) one.")
    if any(name.endswith("ForMaskedLM") for name in config.architectures or []):
        raise UserError(f"{model.base} fills gaps and reads in both directions; choose a causal (decoder-only) model.")
    if getattr(config, "quantization_config", None):
        raise UserError(
            f'{model.base} is quantized already, and nothing could be merged into it; choose the original ("memory": '
            '"4-bit" quantizes it here).'
        )
    options: dict[str, Any] = {"dtype": dtype(model.memory), "use_safetensors": True}
    if model.memory == "4-bit":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=options["dtype"],
        )
    loaded, told = _load(
        AutoModelForCausalLM, model, device_map={"": str(device())}, output_loading_info=True, **options
    )
    if missing := sorted(told["missing_keys"]):  # transformers would draw them at random, others with every load
        raise UserError(
            f"{model.base}: {len(missing)} tensors of a {type(loaded).__name__} are not in its files (first: "
            f"{missing[0]}); download it again, or choose a causal language model."
        )
    return loaded.eval()


def _load(kind: Any, model: Model, **options: Any) -> Any:
    try:
        return kind.from_pretrained(model.base, revision=model.revision, trust_remote_code=False, **options)
    except GatedRepoError as error:
        raise UserError(
            f"{model.base} is gated: ask for access on its page on the Hub, then log in with a token of that account."
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise UserError(f"There is no model {model.base!r} on the Hub that you may read; check the name.") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{model.base} can't be loaded: {_reason(error)}") from error
    except RuntimeError as error:
        if "ignore_mismatched_sizes" not in str(error):
            raise
        raise UserError(f"{model.base} can't be loaded: its tensors have other shapes than its config says.") from error


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    if isinstance(error, SafetensorError):
        return f"its weights are damaged or half downloaded ({text[:100]}); download it again."
    if "gated repo" in text:
        return "it is gated; ask for access on its page on the Hub, then log in with a token of that account."
    if "not a valid model identifier" in text or "is not a local folder" in text:
        return "there is no such model on the Hub that you may read; check the name."
    if "connect" in text.lower() or "offline" in text.lower():
        return "it is not on this machine and the Hub can't be reached; connect, or give a local folder."
    if "safetensors" in text:
        return "it has no weights in safetensors; other formats can run code and are not read."
    return text[:300]


def compute_dtype(loaded: Any) -> torch.dtype:
    """The type a loaded model computes in: that of its output embedding, which is never quantized."""
    return loaded.get_output_embeddings().weight.dtype


def identity(model: Model) -> dict[str, Any]:
    """What tells this base from another: the commit on the Hub, or a fingerprint of a local folder's files."""
    folder = Path(model.base)
    if folder.is_dir():
        return {"model": model.base, "revision": None, "fingerprint": fingerprint(folder)}
    commit = getattr(_load(AutoConfig, model), "_commit_hash", None)
    return {"model": model.base, "revision": commit or model.revision, "fingerprint": None}


def fingerprint(folder: Path) -> str:
    """SHA-256 over names, sizes and 64 MiB (all, where there is less) of each of a folder's weights, configs, tokenizer."""
    digest = hashlib.sha256()
    for file in sorted(p for p in folder.iterdir() if p.suffix in FINGERPRINTED):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}:".encode())
        with file.open("rb") as stream:
            for number in range(BLOCKS):
                stream.seek(max(0, size - BLOCK) * number // (BLOCKS - 1) if size > BLOCK * BLOCKS else BLOCK * number)
                digest.update(stream.read(BLOCK))
    return digest.hexdigest()
