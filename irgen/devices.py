"""Where tensors live, and in which precision."""

import torch

from irgen.settings import Precision


def device() -> torch.device:
    """Return the first GPU, or the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def dtype(precision: Precision) -> torch.dtype:
    """Resolve a precision setting: `auto` is bf16 where the device multiplies in it, else fp32."""
    if precision == "auto":
        fast = torch.cuda.is_bf16_supported() if torch.cuda.is_available() else _cpu_multiplies_bf16()
        return torch.bfloat16 if fast else torch.float32
    return {"bf16": torch.bfloat16, "fp32": torch.float32}[precision]


def _cpu_multiplies_bf16() -> bool:
    """Return whether the CPU has bf16 instructions; without them bf16 is slower than fp32."""
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
