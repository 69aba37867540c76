"""In which type a run computes, decided by the GPU, the model's family and the settings. Standard library only.

bfloat16 from compute capability 8.0 on (torch's own is_bf16_supported counts emulation and says yes on a T4, which is 7.5);
below that float16, or 32 bit for families that float16 is too small for. A CPU computes in 32 bit unless told otherwise.
"""

from __future__ import annotations

from pipeline.methods import METHODS
from pipeline.schema import TrainConfig

Capability = tuple[int, int]
NATIVE_BFLOAT16: Capability = (8, 0)
OVERFLOWING = frozenset(
    {"gemma3", "gemma3_text", "gemma3n", "gemma3n_text", "gpt_oss", "qwen3_5", "qwen3_5_text", "qwen3_5_moe"}
)
"""The `model_type` of families whose activations or gradients go beyond float16's 65,504: NaN from the first steps on.

Source: FORCE_FLOAT32 of unsloth_zoo (model_lists.py) and unsloth (models/loader.py).
"""


def half(capability: Capability | None, model_type: str) -> str:
    """The narrowest type that a device (None: a CPU) computes this family in without losing numbers."""
    if capability is None or capability >= NATIVE_BFLOAT16:
        return "bfloat16"
    return "float32" if model_type in OVERFLOWING else "float16"


def computed(capability: Capability | None, model_type: str, config: TrainConfig) -> str:
    """The type training computes in; where it is not float32, autocast does it, and trained weights stay in 32 bit."""
    if config.memory == "32-bit" or (capability is None and config.held != "16-bit"):
        return "float32"
    if config.held == "32-bit" and METHODS[config.method].family != "weights":
        return "float32"
    return half(capability, model_type)
