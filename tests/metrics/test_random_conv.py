import numpy as np
import torch

from irgen.metrics.frechet import frechet_distances
from irgen.metrics.random_conv import FEATURES, FIELDS, RandomConv, fields


def features(net: RandomConv, images: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        return net(torch.from_numpy(images)).double().numpy()


def test_its_features_are_scaled_over_the_calibration_fields() -> None:
    found = features(RandomConv(), fields())
    assert found.shape == (FIELDS, FEATURES)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-3)
    assert np.median(found.std(axis=0)) > 0.9


def test_it_is_the_same_net_every_time() -> None:
    torch.manual_seed(1)
    first = features(RandomConv(), fields()[:2])
    torch.manual_seed(2)
    np.testing.assert_array_equal(features(RandomConv(), fields()[:2]), first)


def test_it_tells_what_uncalibrated_nets_do_not() -> None:
    images = fields()
    real, same = images[::2], images[1::2]
    rng = np.random.default_rng(0)
    sets = {
        "same": same,
        "dark": 0.6 * same,
        "inverted": 1 - same,
        "noisy": (same + rng.normal(0, 0.05, (*same.shape[:1], 1, *same.shape[2:]))).clip(0, 1).astype(np.float32),
        "blurred": torch.nn.functional.avg_pool2d(torch.from_numpy(same), 5, 1, 2).numpy(),
    }
    net = RandomConv()
    distances = frechet_distances(
        features(net, real), {name: features(net, each.astype(np.float32)) for name, each in sets.items()}
    )
    assert distances["same"] > 1
    for name in ("dark", "noisy", "blurred"):
        assert distances[name] > 1.2 * distances["same"], distances
