import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, isc_features_to_metric

from irgen.errors import IrgenError
from irgen.metrics.diversity import inception_score, vendi_score


def features(seed: int, count: int, dimensions: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions))


@pytest.mark.parametrize(("kinds", "copies", "dimensions"), [(4, 1, 9), (3, 5, 4), (5, 20, 5)])
def test_the_vendi_score_counts_images_that_have_nothing_in_common(kinds: int, copies: int, dimensions: int) -> None:
    assert vendi_score(np.repeat(7 * np.eye(dimensions)[:kinds], copies, axis=0)) == pytest.approx(kinds)


def test_the_vendi_score_of_two_images_follows_their_cosine() -> None:
    cosine = 0.6
    likely, unlikely = (1 + cosine) / 2, (1 - cosine) / 2
    expected = np.exp(-(likely * np.log(likely) + unlikely * np.log(unlikely)))
    assert vendi_score(np.array([[1, 0], [cosine, np.sqrt(1 - cosine**2)]])) == pytest.approx(expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
def test_the_vendi_score_is_that_of_the_whole_cosine_matrix(n: int, dimensions: int, seed: int) -> None:
    x = features(seed, n, dimensions)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    eigenvalues = np.linalg.eigvalsh(unit @ unit.T / n).clip(1e-300)
    assert vendi_score(x) == pytest.approx(np.exp(-(eigenvalues * np.log(eigenvalues)).sum()), rel=1e-6)
    assert 1 - 1e-6 < vendi_score(x) < n + 1e-6


def test_a_feature_vector_of_zeros_has_no_cosine() -> None:
    with pytest.raises(IrgenError, match="2 images, 1 of them with all features zero"):
        vendi_score(np.array([[0.0, 0], [1, 2]]))


@pytest.mark.parametrize("splits", [1, 3, 10])
def test_the_inception_score_is_torch_fidelitys(splits: int) -> None:
    logits = features(1, 103, 17) * 3
    theirs = isc_features_to_metric(torch.from_numpy(logits), splits=splits, shuffle=False)[KEY_METRIC_ISC_MEAN]
    assert inception_score(logits, splits=splits) == pytest.approx(theirs, rel=1e-9)
    assert theirs > 1.5


def test_the_inception_score_lies_between_one_and_the_number_of_classes() -> None:
    sure = 1000 * np.eye(8)[np.arange(80) % 8]
    assert inception_score(sure, splits=1) == pytest.approx(8)
    assert inception_score(np.tile(sure[:1], (80, 1)), splits=1) == pytest.approx(1)
    assert inception_score(np.zeros((80, 8)), splits=1) == pytest.approx(1)


def test_fewer_images_than_splits_are_refused() -> None:
    with pytest.raises(IrgenError, match="9 images cannot be split into 10 parts"):
        inception_score(np.zeros((9, 4)))
