"""What a calibrated halving schedule is worth against best of N on rewards of previews, and on useless previews.

For each tensor the schedule is chosen on the first 20 prompts x 32 seeds and judged on the other prompts. The control
deals each step's previews to other seeds of the prompt: there the policy must be best of N, and lose nothing.

    python benchmarks/search_policy.py --json
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import command
import numpy as np
import real_data

from irgen import rewards, seeds

FOLDER = real_data.DATA / "preview-rewards"
NFE, STEPS = 336, 28


def shuffled(tensor: np.ndarray) -> np.ndarray:
    """Return the tensor with the previews of each prompt and step in random order of seeds."""
    dealt = seeds.generator(0, "benchmark", "shuffled previews").permuted(tensor, axis=1)
    return np.concatenate([dealt[:, :, :-1], tensor[:, :, -1:]], axis=2)


def measure(paths: list[Path], nfe: int, steps: int) -> dict[str, Any]:
    """Return the policy of each tensor and of its control."""
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            report[path.stem] = rewards.policy(path, nfe, steps)
            control = Path(folder) / path.name
            np.savez(control, **{rewards.KEY: shuffled(rewards.load(path))})
            report[f"{path.stem}_shuffled"] = rewards.policy(control, nfe, steps)
    return report


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument(
        "files",
        nargs="*",
        type=Path,
        help=f".npz with {rewards.KEY}[prompt, seed, step]; default: {FOLDER.name}/*",
    )
    parser.add_argument("--budget", type=int, default=NFE, help="NFE of an image")
    parser.add_argument("--steps", type=int, default=STEPS, help="of a whole denoising")
    options = parser.parse_args()
    if not options.files:
        real_data.skip_without(FOLDER)
    report = measure(options.files or sorted(FOLDER.glob("*.npz")), options.budget, options.steps)
    for name, found in report.items():
        low, high = found["gain_z_ci95"]
        print(
            f"{name:30} as good as best of {found['equivalent_n']:5.2f}, gain {found['gain_z']:+.4f} z "
            f"[{low:+.4f}, {high:+.4f}], {found['schedule']}"
        )
    command.finish(options, report)


if __name__ == "__main__":
    main()
