"""Low-rank adapters (LoRA, arXiv 2106.09685) on a FLUX transformer: W' = W + alpha/r B A, with W frozen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from peft import LoraConfig, get_peft_model_state_dict

from irgen import files, seeds
from irgen.errors import SettingsError
from irgen.generators.loading import ADAPTER_FILE
from irgen.settings import AdapterSettings


def targets(transformer: FluxTransformer2DModel, suffixes: tuple[str, ...]) -> list[str]:
    """Return the names of the linear layers that end in one of the suffixes, in the transformer's order.

    Raises:
        SettingsError: a suffix that no linear layer has; lists those there are.
    """
    linear = [name for name, module in transformer.named_modules() if isinstance(module, torch.nn.Linear)]
    found = [name for name in linear if any(_ends(name, suffix) for suffix in suffixes)]
    for suffix in suffixes:
        if not any(_ends(name, suffix) for name in found):
            raise SettingsError(
                f"adapter.target_modules: no linear layer of the base ends in {suffix!r}",
                f"There are: {', '.join(sorted({_without_block(name) for name in linear}))}.",
            )
    return found


def add(transformer: FluxTransformer2DModel, settings: AdapterSettings) -> dict[str, torch.nn.Parameter]:
    """Freeze a transformer, put an adapter on it, and return the adapter's parameters, float32, by name.

    At first the adapter changes nothing: B = 0; A is uniform in +-1/sqrt(inputs), as peft draws it, but keyed by the
    settings' seed and the layer.

    Raises:
        SettingsError: see `targets`.
    """
    names = targets(transformer, settings.target_modules)
    transformer.requires_grad_(False)
    config = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=names, lora_dropout=0.0)
    transformer.add_adapter(config)
    parameters = {name: one for name, one in transformer.named_parameters() if one.requires_grad}
    for name, parameter in parameters.items():
        parameter.data = _initial(name, parameter, settings.seed)
    return parameters


def save(transformer: FluxTransformer2DModel, settings: AdapterSettings, folder: Path) -> None:
    """Write the adapter in diffusers' LoRA format, which `load_lora_weights(folder)` of a stock pipeline takes.

    The factor alpha/r is multiplied into B: a LoRA file without a word about alpha means alpha = r to every reader,
    and safetensors writes more than one such word in an order that changes from run to run.
    """
    scale = settings.alpha / settings.rank
    layers = {}
    for name, one in get_peft_model_state_dict(transformer).items():
        update = one.detach().float().cpu()
        layers[name] = (update * scale if ".lora_B." in name else update).contiguous()
    with files.placed(folder / ADAPTER_FILE) as temporary:
        FluxPipeline.save_lora_weights(
            temporary.parent, layers, weight_name=temporary.name, save_function=_write_readable
        )


def _write_readable(layers: dict[str, torch.Tensor], path: str) -> None:
    """Write as other files are written; safetensors' own `save_file` leaves them readable by their owner alone."""
    Path(path).write_bytes(safetensors.torch.save(layers, metadata={"format": "pt"}))


def _initial(name: str, parameter: torch.nn.Parameter, seed: int) -> torch.Tensor:
    if ".lora_B." in name:
        return torch.zeros_like(parameter, dtype=torch.float32)
    bound = parameter.shape[1] ** -0.5
    drawn = seeds.generator(seed, name, "lora").uniform(-bound, bound, parameter.shape).astype(np.float32)
    return torch.from_numpy(drawn).to(parameter.device)


def _ends(name: str, suffix: str) -> bool:
    return name == suffix or name.endswith("." + suffix)


def _without_block(name: str) -> str:
    """Turn "transformer_blocks.0.attn.to_q" into "attn.to_q"."""
    parts = name.split(".")
    return ".".join(parts[2:]) if parts[0] in ("transformer_blocks", "single_transformer_blocks") else name
