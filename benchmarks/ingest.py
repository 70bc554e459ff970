"""Reading real data: all of KAIST's annotations, and features and FID of HIT-UAV's frames against clean-fid's folders.

The feature net has Inception's 2,048 features and next to none of its arithmetic, which is the same on both sides: so
it is what surrounds a net that is compared, as on a GPU.

    python benchmarks/ingest.py --json
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import alternating  # first: it sets the threads
import command
import numpy as np
import real_data
import torch
from cleanfid.fid import compute_fid, get_folder_features

from irgen import images, pipeline, settings
from irgen.metrics.features import FeatureNet, features
from irgen.metrics.frechet import frechet_distances

ANNOTATIONS = real_data.DATA / "kaist" / "annotations-xml-all-95324.tar.gz"
HIT_UAV = real_data.DATA / "hit-uav" / "images"
SPLITS = ("train", "val")
CPU = torch.device("cpu")


class PatchNet(torch.nn.Module):
    """Float32 [B, 3, 299, 299] in 0..255 to [B, 2048], by one strided convolution with random weights."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv = torch.nn.Conv2d(3, 128, 16, stride=16)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(self.conv(batch / 255).relu(), 4).flatten(1)


def annotations() -> dict[str, Any]:
    """Read all annotations by the frames stage, from the archive to frames.parquet."""
    document = {"source": "kaist", "root": str(ANNOTATIONS.parent), "annotations": str(ANNOTATIONS)}
    wanted = settings.parse(settings.FramesSettings, {**document, "annotations_only": True}, "benchmark")
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        made = pipeline.run_in(Path(folder) / "frames", pipeline.stage_named("frames"), {"frames": wanted}, {})
        return {"annotations": made.figures["frames"], "annotations_cpu_s": round(time.process_time() - began, 2)}


def our_features(split: str, net: FeatureNet) -> np.ndarray:
    paths = sorted((HIT_UAV / split).glob("*.jpg"))
    return features((images.read_rgb(path) for path in paths), net, total=len(paths))


def our_distance(net: FeatureNet) -> float:
    real, other = (our_features(split, net) for split in SPLITS)
    return frechet_distances(real, {"other": other})["other"]


def their_distance(net: torch.nn.Module) -> float:
    folders = [str(HIT_UAV / split) for split in SPLITS]
    options = {"num_workers": 0, "device": CPU, "use_dataparallel": False, "verbose": False}
    return float(compute_fid(*folders, custom_feat_extractor=net, **options))


def their_features(split: str, net: torch.nn.Module) -> np.ndarray:
    options = {"num_workers": 0, "device": CPU, "batch_size": 32, "verbose": False}
    return get_folder_features(str(HIT_UAV / split), net, **options)


def distances(pairs: int) -> dict[str, Any]:
    """Return clean-fid / irgen CPU time of the FID between HIT-UAV's splits, and of the features alone."""
    torch.set_num_threads(1)
    net = PatchNet().eval()
    own = FeatureNet("patches", (299, 299), net)
    found: dict[str, float] = {}
    report: dict[str, Any] = alternating.compare(
        lambda: found.update(theirs=their_distance(net)), lambda: found.update(ours=our_distance(own)), pairs
    )
    alone = alternating.compare(lambda: their_features("val", net), lambda: our_features("val", own), pairs)
    return report | {
        "features_ratio": alone["ratio"],
        "fid": round(found["ours"], 6),
        "error": float(f"{abs(found['ours'] / found['theirs'] - 1):.2g}"),
        "images": len(list(HIT_UAV.glob("*/*.jpg"))),
    }


def main() -> None:
    options = command.parser(__doc__, pairs=3).parse_args()
    for path in (ANNOTATIONS, HIT_UAV):
        real_data.skip_without(path)
    report = {**annotations(), **distances(options.pairs)}
    print(f"{report['annotations']} annotations: {report['annotations_cpu_s']:.1f} CPU-s")
    print(
        f"FID of {report['images']} frames: clean-fid {report['cpu_s_compared']:.2f} CPU-s, irgen "
        f"{report['cpu_s']:.2f}: {report['ratio']:.2f} times less (features alone {report['features_ratio']:.2f}), "
        f"relative difference {report['error']:.1e}"
    )
    command.finish(options, report)


if __name__ == "__main__":
    main()
