"""Where tensors live, and in which precision."""

import torch

from irgen.settings import Precision


def device() -> torch.device:
    """Return the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype(precision: Precision) -> torch.dtype:
    """Resolve a precision setting: `auto` is bf16 on a GPU that has it, else fp32 (on CPUs bf16 is slower)."""
    if precision == "auto":
        return torch.bfloat16 if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else torch.float32
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]
