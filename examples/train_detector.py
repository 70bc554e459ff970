"""Train a torchvision detector on a finished dataset: `python examples/train_detector.py DATASET WEIGHTS EPOCHS`.

DATASET is a folder such as data/miniature, WEIGHTS the .safetensors file to write.
"""

import sys

import torch
from safetensors.torch import save_file
from torch.utils.data import DataLoader
from torchvision.models.detection import fasterrcnn_mobilenet_v3_large_320_fpn
from torchvision.transforms import v2

from irgen.shards import collate, open_dataset, paint_ignored

prepared = v2.Compose([paint_ignored, v2.RandomHorizontalFlip(), v2.ToDtype(torch.float32, scale=True)])


def train(dataset: str, weights: str, epochs: int) -> None:
    """Train from nothing on all images whose boxes agree with their caption at least by half."""
    images = open_dataset(dataset, min_score=0.5, min_agreement=0.5, transform=prepared)
    loader = DataLoader(images, batch_size=8, num_workers=2, collate_fn=collate)
    detector = fasterrcnn_mobilenet_v3_large_320_fpn(weights_backbone=None, num_classes=len(images.classes) + 1)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=2e-4)
    for epoch in range(epochs):
        images.set_epoch(epoch)
        for batch, targets in loader:
            loss = sum(detector(batch, targets).values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss:.3f} of the last batch")
    save_file(detector.state_dict(), weights, {"classes": ",".join(images.classes)})


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], int(sys.argv[3]))
