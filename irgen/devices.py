"""Where tensors live, and in which precision."""

import contextlib
import ctypes
import functools
import gc
import itertools
import sys
from collections.abc import Iterator

import torch
from torch.nn import functional

from irgen.settings import Precision

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's mallopt(3)."""
NEVER = 2**31 - 1


def device() -> torch.device:
    """Return the first GPU, or the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    _keep_freed_memory()
    return torch.device("cpu")


@functools.cache
def _keep_freed_memory() -> None:
    """Have glibc keep the memory of freed tensors for the next ones, as PyTorch does itself on a GPU.

    Else each large tensor's pages come zeroed from the kernel and go back to it: a fifth of the time of generating.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, NEVER)
        mallopt(M_TRIM_THRESHOLD, NEVER)


def release() -> None:
    """Give back GPU memory that nothing uses: what PyTorch keeps for itself, lanes on the same GPU could not have."""
    if torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


def free_bytes(device: torch.device) -> int:
    """Return the memory of a GPU that is free, what PyTorch keeps for itself included."""
    torch.cuda.empty_cache()
    return torch.cuda.mem_get_info(device)[0]


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Have PyTorch compute with one thread on the CPU meanwhile.

    With more, sums are taken in another order: bits would depend on how many cores there are, and how many processes
    share them. Processes side by side use the cores as well.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rows_at_once(wanted: int) -> int:
    """Return how many rows a network takes at once where no row's bits may depend on its place among them.

    That is as many as are wanted on a GPU and on most CPUs; one where the CPU adds up other rows in another order (MKL
    on a CPU without AVX-512).
    """
    return wanted if torch.cuda.is_available() or _cpu_treats_rows_alike() else 1


@functools.cache
def _cpu_treats_rows_alike() -> bool:
    """Return whether equal rows have equal products: of batches and lengths that fill no block of a kernel's evenly."""
    chance = torch.Generator().manual_seed(0)
    weight = torch.randn(64, 32, generator=chance)
    for length, batch in itertools.product((1, 2, 5, 7), (4, 8, 16)):
        products = functional.linear(torch.randn(length, 32, generator=chance).repeat(batch, 1, 1), weight)
        if not torch.equal(products, products[:1].expand_as(products)):
            return False
    return True


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
