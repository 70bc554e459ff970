"""Rectified-flow training of an adapter, resumable at any checkpoint.

Every random number of a step is keyed by the settings' seed and the position of the example in the whole run, so that
neither an interruption nor the split into forwards changes what is learnt. On a CPU a resumed run is bit-equal to an
undisturbed one; on a GPU the backward of fused attention adds up in an order of its own.

Memory of FLUX.1-dev in bf16 at 512x640: 23.8 GB for the frozen transformer, 16 bytes a trainable parameter (0.3 GB at
rank 16 on attention), and 12.4 GiB of activations an image of a forward; gradient checkpointing takes those to about
1 GiB for half as much time again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from irgen import collective, files, progress, seeds
from irgen.collective import Group
from irgen.errors import WeightsError
from irgen.generators.examples import Encoded
from irgen.generators.flow import Flow, shifted
from irgen.settings import AdapterSettings

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"
MAX_GRADIENT_NORM = 1.0
GENTLER = 0.25
"""Factor on the learning rate after a loss that was not finite; it is tried once."""
NEVER = -1
SMOOTHING = 0.98
"""Of the exponential moving average of the loss."""

LOSS = pa.schema(
    [("step", pa.int32()), ("loss", pa.float64()), ("learning_rate", pa.float64()), ("smoothed", pa.float64())]
)


@dataclass
class Trainer:
    """An adapter in training.

    Attributes:
        flow: over the transformer that carries the adapter.
        scheduler: of the pipeline; shifts training's sigmas as sampling's.
        encoded: what is learnt from.
        parameters: the adapter's, float32, by name.
        settings: of the adapter.
        scratch: folder for checkpoints; may hold one of an interrupted run.
        group: the processes that train it together; all have the same fields but for this one.
        losses: mean loss of each step so far.
        gentler_from: step from which the learning rate is `GENTLER` times that of the settings, after a loss that was
            not finite; no step where there was none.
    """

    flow: Flow
    scheduler: FlowMatchEulerDiscreteScheduler
    encoded: Encoded
    parameters: dict[str, torch.nn.Parameter]
    settings: AdapterSettings
    scratch: Path
    group: Group = collective.ALONE
    losses: list[float] = field(default_factory=list)
    gentler_from: int = NEVER

    def __post_init__(self) -> None:
        """Make the optimiser."""
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), weight_decay=self.settings.weight_decay, fused=True
        )

    def run(self) -> None:
        """Train to the last step, from the checkpoint where there is one.

        Raises:
            WeightsError: a loss or gradient is not finite again after training went back to the last checkpoint and on
                from there with a lower rate; that checkpoint and the loss so far stay in `scratch`.
        """
        self._resume()
        settings = self.settings
        with progress.bar("adapter: train", settings.steps - len(self.losses)) as advance:
            while len(self.losses) < settings.steps:
                before = len(self.losses)
                self._step()
                done = len(self.losses)
                advance(done - before)
                if done % settings.checkpoint_every == 0 and done < settings.steps:
                    self.checkpoint()
                    log.info("adapter: step %d of %d, loss %.4f", done, settings.steps, smoothed(self.losses)[-1])

    def _step(self) -> None:
        """Take one optimiser step over `gradient_accumulation` forwards, or this process's share of their images."""
        step, settings = len(self.losses), self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(settings, step, self.gentler_from)
        self.optimizer.zero_grad()
        count = settings.gradient_accumulation * settings.batch_size
        mine = self.group.share(count)
        share = range(step * count + mine.start, step * count + mine.stop)
        total = 0.0
        for part in range(0, len(share), settings.batch_size):
            positions = share[part : part + settings.batch_size]
            loss = self._loss(positions) / (count / len(positions))
            loss.backward()
            total += loss.item()
        total = self.group.total(total)
        self.group.add_gradients(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), MAX_GRADIENT_NORM).item()
        self.losses.append(total)
        if not np.isfinite(total + norm):
            self._go_back(f"loss {total}, gradient norm {norm}")
            return
        self.optimizer.step()

    def _go_back(self, what: str) -> None:
        """Return to the last checkpoint and go on from there more gently; the second time, or without one, stop."""
        if self.gentler_from != NEVER or not (self.scratch / CHECKPOINT).is_file():
            self._stop(what)
        failed = len(self.losses)
        self._resume()
        self.gentler_from = len(self.losses)
        log.warning(
            "adapter: not finite at step %d (%s); goes on from step %d with %g of the learning rate",
            failed,
            what,
            self.gentler_from,
            GENTLER,
        )

    def _loss(self, positions: range) -> torch.Tensor:
        """Return the mean squared error of the velocity, for examples at the given positions of the run."""
        device = self.flow.device
        drawn = [self._draw(position) for position in positions]
        x0, noise, even = (torch.stack(parts) for parts in list(zip(*drawn, strict=True))[1:])
        sigmas = shifted(self.scheduler, even, tuple(x0.shape[1:]))
        at = sigmas[:, None, None, None]
        rows = [self.encoded.text_rows[one] for one, *_ in drawn]
        conditions = self.encoded.conditions.take(rows).to(device).rows
        half = self.flow.dtype == torch.bfloat16
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            v = self.flow.velocity(((1 - at) * x0 + at * noise).to(device), sigmas.to(device), conditions)
        return torch.nn.functional.mse_loss(v, (noise - x0).to(device))

    def _draw(self, position: int) -> tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the example at a position of the run, its latents, noise and (unshifted) sigma.

        Sigma is uniform, not logit-normal as in the base's own training: a change of modality is decided near sigma 1
        (black skies, no colour cast), where a logit-normal hardly draws.
        """
        seed, count = self.settings.seed, len(self.encoded)
        epoch, place = divmod(position, count)
        example = int(seeds.generator(seed, epoch, "adapter-order").permutation(count)[place])
        random = seeds.generator(seed, position, "adapter-example")
        mean = self.encoded.mean[example]
        noise, posterior = torch.from_numpy(random.standard_normal((2, *mean.shape), dtype=np.float32))
        sigma = torch.tensor(random.random(), dtype=torch.float32)
        return example, mean + self.encoded.sd[example] * posterior, noise, sigma

    def checkpoint(self) -> None:
        """Write where training is, from which `run` goes on; of a group, the first does."""
        if self.group.rank:
            return
        tensors = {f"weight/{name}": one.detach() for name, one in self.parameters.items()}
        for name, parameter in self.parameters.items():
            state = self.optimizer.state[parameter]
            tensors |= {f"{part}/{name}": state[part] for part in ("exp_avg", "exp_avg_sq", "step")}
        tensors["losses"] = torch.tensor(self.losses, dtype=torch.float64)
        tensors["gentler_from"] = torch.tensor(self.gentler_from)
        # One file: weights, optimiser and trace can never be of different steps.
        with files.placed(self.scratch / CHECKPOINT) as temporary:
            save_file({name: one.cpu().contiguous() for name, one in tensors.items()}, temporary)

    def _resume(self) -> None:
        path = self.scratch / CHECKPOINT
        if not path.is_file():
            return
        try:
            with safe_open(path, "pt") as saved:
                for name, parameter in self.parameters.items():
                    parameter.data.copy_(saved.get_tensor(f"weight/{name}"))
                    self.optimizer.state[parameter] = {
                        "step": saved.get_tensor(f"step/{name}").to(parameter.device),
                        "exp_avg": saved.get_tensor(f"exp_avg/{name}").to(parameter.device),
                        "exp_avg_sq": saved.get_tensor(f"exp_avg_sq/{name}").to(parameter.device),
                    }
                self.losses = saved.get_tensor("losses").tolist()
                self.gentler_from = int(saved.get_tensor("gentler_from"))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise WeightsError(f"{path}: damaged checkpoint ({error})", "Remove it: training starts anew.") from error
        log.info("adapter: goes on at step %d", len(self.losses))

    def _stop(self, what: str) -> None:
        write_losses(self.scratch / "loss.parquet", self.losses, self.settings, self.gentler_from)
        raise WeightsError(
            f"adapter: not finite at step {len(self.losses)} of {self.settings.steps} ({what}); trace and last "
            f"checkpoint are in {self.scratch}",
            f"Lower adapter.learning_rate (now {self.settings.learning_rate:g}) or raise adapter.warmup_steps.",
        )


def learning_rate(settings: AdapterSettings, step: int, gentler_from: int = NEVER) -> float:
    """Return the learning rate of a step counted from 0: linear warm-up, then constant, and lower after an accident."""
    factor = GENTLER if gentler_from != NEVER and step >= gentler_from else 1.0
    return factor * settings.learning_rate * min(1.0, (step + 1) / max(1, settings.warmup_steps))


def smoothed(losses: list[float]) -> list[float]:
    """Return the exponential moving average, corrected for its start (arXiv 1412.6980, section 3)."""
    average, out = 0.0, []
    for count, loss in enumerate(losses, start=1):
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        out.append(average / (1 - SMOOTHING**count))
    return out


def write_losses(path: Path, losses: list[float], settings: AdapterSettings, gentler_from: int = NEVER) -> None:
    """Write the trace: step from 1, loss, learning rate, smoothed loss."""
    columns = {
        "step": range(1, len(losses) + 1),
        "loss": losses,
        "learning_rate": [learning_rate(settings, step, gentler_from) for step in range(len(losses))],
        "smoothed": smoothed(losses),
    }
    with files.placed(path) as temporary:
        pq.write_table(pa.table({name: list(column) for name, column in columns.items()}, schema=LOSS), temporary)
