import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irgen.errors import GateError, WeightsError
from irgen.settings import VerifierBar
from irgen.verifiers import IrScore
from irgen.verifiers.calibration import Calibration, auc, calibrate, check_bar, match_auc, rank_correlation
from irgen.verifiers.clip import Clip
from irgen.verifiers.examples import OWN
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


def test_rank_correlation_is_spearmans_within_groups() -> None:
    early = np.array([1.0, 5.0, 2.0, 30.0, 10.0, 20.0, 7.0, 0.0, 0.0])
    final = np.array([0.1, 0.9, 0.2, 0.1, 0.3, 0.2, 0.5, 0.1, 0.2])
    group = np.array([0, 0, 0, 1, 1, 1, 2, 3, 3])
    # In order, in reverse order; one alone says nothing, equal scores tell nothing.
    assert rank_correlation(early, final, group) == pytest.approx((1 - 1 + 0) / 3)
    assert rank_correlation(early[:3], final[:3], group[:3]) == pytest.approx(1)
    assert rank_correlation(early[6:7], final[6:7], group[6:7]) == 0


def test_own_samples_and_their_previews_are_measured_against_their_captions(clip: Clip) -> None:
    plain = examples(9)
    owners = np.repeat([0, 4], 3)
    made = plain.lwir_u8[[1, 2, 3, 5, 6, 7]]
    reversed_ = made[[2, 1, 0, 5, 4, 3]]
    val = replace(
        plain,
        negatives_u8=plain.negatives_u8 | {OWN: made},
        owners=plain.owners | {OWN: owners},
        previews_u8={2: reversed_, 5: made},
    )
    verifier = IrScore(clip, 0.5)
    measured = calibrate(verifier, val)
    scores = verifier.score(made.permute(0, 2, 3, 1).numpy(), [val.captions[row] for row in owners]).value
    real = verifier.score(plain.lwir_u8.permute(0, 2, 3, 1).numpy(), plain.captions).value
    assert measured.auc[OWN] == pytest.approx(auc(real, scores))
    assert measured.preview_rank["5"] == pytest.approx(1)
    columns = np.array([plain.captions.index(plain.captions[row]) for row in owners])
    expected = rank_correlation(scores[[2, 1, 0, 5, 4, 3]], scores, columns)
    assert measured.preview_rank["2"] == pytest.approx(expected)


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
