"""A flow of yours that starts whenever `build_dataset` has finished a dataset: it trains a detector on the shards.

`flows/examples/prefect.yaml` deploys it with the trigger. Put your own training in the place of `_train`.
"""

import logging
from itertools import islice
from pathlib import Path
from typing import Any

from prefect import flow

from irgen import files
from irgen.errors import SettingsError

log = logging.getLogger("irgen.run")


@flow(name="train_detector", flow_run_name="{dataset}")
def train_detector(
    dataset: str, out: str = "data/detector", steps: int = 1000, batch_size: int = 8, min_score: float = 0.5
) -> dict[str, Any]:
    """Train torchvision's SSDlite from nothing on a generated dataset.

    Args:
        dataset: Folder of the dataset, or of its shards; the event's payload has it as `path`.
        out: Folder for detector.safetensors and detector.json.
        steps: Batches.
        batch_size: Images in one.
        min_score: Boxes that are less likely right are painted over.

    Raises:
        StoreError: no such dataset, or a damaged one.
        SettingsError: a batch of more images than it has.

    Returns:
        The classes, and the loss of the first and the last step.
    """
    import torch  # not at the top: flows must import in a second
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model, figures = _train(Path(dataset), steps, batch_size, min_score)
    folder = Path(out)
    with files.placed(folder / "detector.safetensors") as path:
        save_file(model.state_dict(), path)
    files.write_json(folder / "detector.json", {"dataset": dataset, **figures})
    log.info("train_detector: loss %.2f -> %.2f: %s", figures["loss_first"], figures["loss_last"], folder)
    return figures


def _train(dataset: Path, steps: int, batch_size: int, min_score: float) -> tuple[Any, dict[str, Any]]:
    import torch
    from torchvision.models.detection import ssdlite320_mobilenet_v3_large

    from irgen import shards

    images = shards.open_dataset(dataset, min_score=min_score, transform=shards.paint_ignored)
    # A last batch of one image would leave batch normalisation without a variance.
    loader = torch.utils.data.DataLoader(images, batch_size=batch_size, collate_fn=shards.collate, drop_last=True)
    model = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=len(images.classes) + 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    losses: list[float] = []
    for epoch in range(steps):
        images.set_epoch(epoch)
        before = len(losses)
        for batch, targets in islice(loader, steps - len(losses)):
            wanted = [{"boxes": target["boxes"], "labels": target["labels"]} for target in targets]
            loss = sum(model([(image / 255).expand(3, -1, -1) for image in batch], wanted).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        if len(losses) == before:
            break
    if not losses:
        raise SettingsError(f"batch_size = {batch_size}: more than {dataset} has images", "Lower it.")
    return model, {"classes": list(images.classes), "loss_first": losses[0], "loss_last": losses[-1]}
