import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen.errors import GateError, WeightsError
from irgen.settings import VerifierBar
from irgen.verifiers import IrScore
from irgen.verifiers.calibration import Calibration, auc, calibrate, check_bar, match_auc
from irgen.verifiers.clip import Clip
from tests.tiny_clip import examples

SCORES = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


@given(SCORES, SCORES)
def test_auc_counts_pairs_and_ties_half(positive, negative) -> None:
    pairs = list(itertools.product(positive, negative))
    expected = sum((p > n) + (p == n) / 2 for p, n in pairs) / len(pairs)
    assert auc(np.array(positive), np.array(negative)) == pytest.approx(expected)


def test_match_compares_an_image_only_with_other_texts() -> None:
    # Frames 0 and 1 share a caption; image 0 beats frame 2's, image 1 ties with it, image 2 loses to both.
    scores = np.array([[3.0, 3.0, 1.0], [2.0, 2.0, 2.0], [5.0, 5.0, 4.0]])
    same = np.array([[True, True, False], [True, True, False], [False, False, True]])
    assert match_auc(scores, same) == pytest.approx((1 + 0.5 + 0) / 3)


def test_match_is_a_toss_where_all_captions_are_the_same() -> None:
    assert match_auc(np.arange(4.0).reshape(2, 2), np.ones((2, 2), bool)) == 0.5


def test_calibration_agrees_with_scoring_image_by_image(clip: Clip) -> None:
    val = examples(9)
    verifier = IrScore(clip, 0.4)
    measured = calibrate(verifier, val)
    lwir, gray = (x.permute(0, 2, 3, 1).numpy() for x in (val.lwir_u8, val.negatives_u8["gray"]))
    real, fake = verifier.score(lwir, val.captions).value, verifier.score(gray, val.captions).value
    assert measured.auc["gray"] == pytest.approx(auc(real, fake))
    wins = []
    for k in range(9):
        others = [caption for caption in val.captions if caption != val.captions[k]]
        wrong = verifier.score(np.repeat(lwir[k : k + 1], len(others), 0), others).value
        wins.append(np.mean((real[k] > wrong) + 0.5 * (real[k] == wrong)))
    assert measured.auc["match"] == pytest.approx(np.mean(wins))
    assert sum(measured.histograms["gray"]) == 9
    assert set(measured.histograms) == {"edges", "real", "real_shuffled", "gray", "inverted"}


def test_scores_that_are_not_finite_stop_the_calibration(clip: Clip) -> None:
    clip.model.visual.proj.data.fill_(float("nan"))
    with pytest.raises(WeightsError, match="not finite"):
        calibrate(IrScore(clip, 0.5), examples(4))


def test_the_objective_weighs_match_as_much_as_all_kinds_together() -> None:
    assert Calibration({"gray": 1.0, "agc": 0.5, "match": 0.7}, {}).objective == pytest.approx(0.75 + 0.7)


def test_a_verifier_under_the_bar_fails_with_the_table() -> None:
    bar = VerifierBar(gray=0.98, match=0.7, rgb=0.9)
    check_bar({"gray": 0.98, "rgb": 0.9, "match": 0.7, "inverted": 0.1}, bar)
    with pytest.raises(GateError) as caught:
        check_bar({"gray": 0.97, "inverted": 1.0, "match": 0.71}, bar)
    text = str(caught.value)
    assert "too weak on held-out frames: gray, rgb\n" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["gray", "0.970", "0.980"] in rows
    assert ["rgb", "-", "0.900"] in rows
    assert ["inverted", "1.000", "-"] in rows
