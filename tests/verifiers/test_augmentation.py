import numpy as np
import torch

from irgen.verifiers.augmentation import augment


def test_every_image_is_changed_on_its_own_and_stays_in_range() -> None:
    image = torch.rand(1, 3, 20, 30, generator=torch.Generator().manual_seed(0)).repeat(4, 1, 1, 1)
    changed = augment(image, np.random.default_rng(0))
    assert changed.shape == image.shape
    assert changed.min() >= 0 and changed.max() <= 1
    assert not torch.allclose(changed[0], changed[1])
    torch.testing.assert_close(augment(image, np.random.default_rng(0)), changed, rtol=0, atol=0)


def test_left_stays_left_and_top_stays_top() -> None:
    image = torch.zeros(32, 3, 20, 30)
    image[:, :, :10, :15] = 1
    changed = augment(image, np.random.default_rng(1))
    quarters = [changed[:, :, :8, :12], changed[:, :, 12:, :12], changed[:, :, :8, 18:], changed[:, :, 12:, 18:]]
    first, *others = [quarter.mean((1, 2, 3)) for quarter in quarters]
    assert all((first > other + 0.5).all() for other in others)
