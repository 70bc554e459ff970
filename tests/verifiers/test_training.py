from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from irgen.collective import Group
from irgen.errors import GateError, SettingsError
from irgen.settings import VerifierSettings
from irgen.verifiers import IrScore, seed_runs, training
from irgen.verifiers.calibration import calibrate
from irgen.verifiers.clip import Clip
from irgen.verifiers.examples import OWN, Examples
from tests.thread_group import together
from tests.tiny_clip import CAPTIONS, examples

SETTINGS = VerifierSettings(
    steps=40, batch_size=24, learning_rate=1e-3, warmup_steps=5, validate_every=20, precision="fp32"
)


def test_training_learns_infrared_and_content(clip: Clip) -> None:
    val = examples(30, seed=1)
    before = calibrate(IrScore(clip, 0.5), val).auc
    trained = training.train(clip, SETTINGS, 0, examples(90), val)
    assert before["gray"] < 0.9 and before["match"] < 0.8
    assert trained.calibration.auc["gray"] > 0.97
    assert trained.calibration.auc["match"] > 0.9
    assert trained.losses[-1] < trained.losses[0]


def test_equal_seeds_give_equal_weights_and_the_model_itself_stays(clip: Clip) -> None:
    short = SETTINGS.model_copy(update={"steps": 4})
    train, val = examples(24), examples(9, seed=1)
    untouched = {name: value.clone() for name, value in clip.model.state_dict().items()}
    first, again, other = (training.train(clip, short, seed, train, val).weights for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)
    assert all(torch.equal(value, clip.model.state_dict()[name]) for name, value in untouched.items())


@pytest.mark.parametrize("size", [2, 5])
def test_several_processes_learn_what_one_does(clip: Clip, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    settings = SETTINGS.model_copy(update={"steps": 4, "validate_every": 1, "batch_size": 12})
    data, val = with_own(24, 10), examples(9, seed=1)
    # Adam forgets how large a gradient was: a gradient counted twice would not show.
    plain = partial(torch.optim.SGD, lr=0.0)
    monkeypatch.setattr(training, "_optimizer", lambda clip, settings: plain(clip.model.parameters()))
    monkeypatch.setattr(training, "MAX_GRADIENT_NORM", 1e6)
    alone = training.train(clip, settings, 0, data, val)
    found = together(size, lambda group: training.train(clip, settings, 0, data, val, group))
    assert len(set(alone.losses)) == 4
    for each in found:
        assert each.losses == pytest.approx(alone.losses, rel=1e-5)
        torch.testing.assert_close(each.weights, alone.weights, rtol=1e-4, atol=1e-6)


def test_a_model_that_normalises_over_its_batch_is_for_one_process(clip: Clip) -> None:
    normalising = replace(clip, model=torch.nn.Sequential(clip.model, torch.nn.BatchNorm1d(3)))
    with pytest.raises(SettingsError, match=r"(?s)of which 2 processes would have a part each.*--ranks 1"):
        training.train(normalising, SETTINGS, 0, examples(9), examples(9), Group(0, 2))


def test_the_best_checkpoint_is_kept_not_the_last(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    objectives = iter([0.5, 0.9, 0.7])
    real = training.calibrate

    def rigged(verifier, val):
        measured = real(verifier, val)
        value = next(objectives)
        return type(measured)({"gray": value, "match": value}, {})

    monkeypatch.setattr(training, "calibrate", rigged)
    settings = SETTINGS.model_copy(update={"steps": 3, "validate_every": 1})
    assert training.train(clip, settings, 0, examples(24), examples(6)).step == 2


def test_every_frame_is_drawn_once_an_epoch_beside_a_negative_of_its_own() -> None:
    drawn = examples(24)
    pixels = torch.arange(24, dtype=torch.uint8).view(24, 1, 1, 1).expand(24, 3, 16, 24)
    captions = tuple(f"caption {k}" for k in range(24))
    drawn = type(drawn)(captions, pixels, {"gray": pixels + 100}, {"gray": np.arange(24)})
    seen = []
    for step in range(3):
        batch = training.draw(drawn, 16, 0, step)
        assert batch.counts == (8, 8, 0, 0)
        assert batch.caption[:8].tolist() == batch.caption[8:].tolist()
        seen += [batch.captions[k] for k in batch.caption[:8]]
    assert sorted(seen) == sorted(captions)
    repeated = training.draw(drawn, 16, 0, 2)
    torch.testing.assert_close(repeated.pixels, batch.pixels, rtol=0, atol=0)


def test_frames_without_negatives_are_drawn_as_real_only() -> None:
    all_pairs = examples(8)
    few = type(all_pairs)(
        all_pairs.captions, all_pairs.lwir_u8, {"gray": all_pairs.negatives_u8["gray"][:2]}, {"gray": np.array([1, 5])}
    )
    batch = training.draw(few, 16, 0, 0)
    assert batch.counts == (8, 2, 0, 0) and len(batch.pixels) == 10


def with_own(count: int, own: int, seed: int = 0) -> Examples:
    """Add own samples: images whose right half fades out, and previews that fade further, the earlier the more."""
    plain = examples(count, seed)
    rng = np.random.default_rng(seed)
    rows = rng.integers(count, size=own)
    fade = torch.from_numpy(rng.uniform(0.2, 0.6, (own, 1, 1, 1)))
    shown = plain.lwir_u8[rows].double()

    def faded(much: torch.Tensor) -> torch.Tensor:
        return torch.cat([shown[..., :12], shown[..., 12:] * (1 - much)], -1).to(torch.uint8)

    previews = {step: faded(fade * share) for step, share in ((1, 1.6), (3, 1.3))}
    return replace(
        plain,
        negatives_u8=plain.negatives_u8 | {OWN: faded(fade)},
        owners=plain.owners | {OWN: rows},
        previews_u8=previews,
    )


def test_own_samples_take_a_third_of_the_batch_and_their_previews_come_on_top() -> None:
    marked = with_own(24, 10)
    marked.negatives_u8[OWN][:] = torch.arange(100, 110, dtype=torch.uint8).view(10, 1, 1, 1)
    for step in (1, 3):
        marked.previews_u8[step][:] = torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1) + 200 + 20 * (step == 3)
    seen, steps = [], set()
    for step in range(8):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "augment", lambda pixels, rng: pixels)
            batch = training.draw(marked, 15, 0, step)
        assert batch.counts == (5, 5, 5, 5) and len(batch.caption) == 20
        _, _, own, previews = (batch.pixels[:, 0, 0, 0] * 255).round().int().split(5)
        offsets = set((previews - own).tolist())
        assert len(offsets) == 1, "previews of several steps, or not of these samples"
        steps |= offsets
        rows = own - 100
        assert [batch.captions[k] for k in batch.caption[10:15]] == [
            marked.captions[k] for k in marked.owners[OWN][rows]
        ]
        assert batch.caption[10:15].tolist() == batch.caption[15:].tolist()
        seen += rows.tolist()
    assert steps == {100, 120}
    assert sorted(seen) == sorted([*range(10)] * 4)


def test_own_samples_fall_below_real_images_once_they_are_learned(clip: Clip) -> None:
    settings = SETTINGS.model_copy(update={"steps": 60, "validate_every": 60})
    val = with_own(30, 40, seed=1)
    plain = training.train(clip, settings, 0, examples(90), val).calibration
    guarded = training.train(clip, settings, 0, replace(with_own(90, 60), previews_u8={}), val).calibration
    assert plain.auc["own"] < 0.5 and guarded.auc["own"] > 0.8


def test_the_loss_puts_previews_below_their_ends_and_these_below_real_images() -> None:
    draws = torch.Generator().manual_seed(0)
    texts = F.normalize(torch.randn(4, 16, generator=draws), dim=-1)
    batch = training.Batch(torch.zeros(0), (4, 4, 6, 6), torch.tensor([0, 1] * 10), ["a", "b"])
    features = torch.randn(20, 16, generator=draws).requires_grad_()
    optimizer = torch.optim.Adam([features], lr=0.02)
    for _ in range(150):
        optimizer.zero_grad()
        training._loss(F.normalize(features, dim=-1), texts, batch, 0.5, torch.tensor(14.0)).backward()
        optimizer.step()
    towards = (texts[:2] - texts[2:])[batch.caption] / 2
    real, negative, own, previews = (F.normalize(features, dim=-1) * towards).sum(1).detach().split(batch.counts)
    assert real.min() > own.max() and real.min() > negative.max()
    assert (own > previews).all()
    assert own.argsort().tolist() == previews.argsort().tolist()


def test_the_order_loss_is_least_where_scores_differ_as_the_models() -> None:
    model, scale = torch.tensor([0.1, 0.4, 0.2], requires_grad=True), torch.tensor(3.0)
    at_best = training.order_loss(model.detach() + 7, model, scale)
    odds = 1 / (1 + np.exp(-3 * np.array([-0.3, -0.1, 0.2])))
    assert at_best.item() == pytest.approx(-np.mean(odds * np.log(odds) + (1 - odds) * np.log(1 - odds)), rel=1e-5)
    scores = torch.tensor([0.3, 0.2, 0.1], requires_grad=True)
    worse = training.order_loss(scores, model, scale)
    assert worse > at_best
    worse.backward()
    assert model.grad is None and scores.grad is not None and scores.grad[1] < 0 < scores.grad[0]
    assert training.order_loss(scores[:1], model[:1], scale) == 0


def test_equal_captions_are_one_text_of_the_batch() -> None:
    batch = training.draw(examples(24), 24, 0, 0)
    assert sorted(batch.captions) == sorted(CAPTIONS)


def test_the_loss_is_clips_where_every_image_has_its_own_text() -> None:
    images, texts = (F.normalize(torch.randn(4, 8, generator=torch.Generator().manual_seed(s)), dim=-1) for s in (0, 1))
    scale = torch.tensor(7.0)
    logits = 7 * images @ texts.T
    expected = (F.cross_entropy(logits, torch.arange(4)) + F.cross_entropy(logits.T, torch.arange(4))) / 2
    torch.testing.assert_close(training.contrastive_loss(images, texts, torch.arange(4), scale), expected)


def test_images_that_share_a_text_are_not_each_others_negatives() -> None:
    # Both images are at their text: the loss is what one text of two leaves, and no pull between the two images.
    image = F.normalize(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), dim=-1).requires_grad_()
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = training.contrastive_loss(image, texts, torch.tensor([0, 0]), torch.tensor(100.0))
    torch.testing.assert_close(loss, torch.log(torch.tensor(2.0)) / 2, atol=1e-4, rtol=0)
    gradient = torch.autograd.grad(loss, image)[0]
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-4, rtol=0)


def test_the_ranking_loss_falls_as_real_images_rise_above_negatives() -> None:
    real, negative, scale = torch.tensor([0.3, 0.1]), torch.tensor([0.2]), torch.tensor(2.0)
    expected = (np.log1p(np.exp(-0.2)) + np.log1p(np.exp(0.2))) / 2
    assert training.ranking_loss(real, negative, scale).item() == pytest.approx(expected, rel=1e-6)
    assert training.ranking_loss(real + 1, negative, scale) < training.ranking_loss(real, negative, scale)
    assert training.ranking_loss(real, negative[:0], scale) == 0


def test_the_schedule_warms_up_and_falls_to_nothing() -> None:
    rates = [training.schedule(step, SETTINGS) for step in range(40)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(rates) == 1.0 and rates[39] < 0.01
    assert sorted(rates[5:], reverse=True) == rates[5:]


def test_a_loss_that_is_not_finite_stops_with_advice(clip: Clip) -> None:
    clip.model.visual.proj.data.fill_(float("inf"))
    with pytest.raises(GateError, match=r"not finite at step 0\n.*learning_rate"):
        training.train(clip, SETTINGS, 0, examples(24), examples(6))


def test_a_finished_seed_is_read_not_trained_again(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SETTINGS.model_copy(update={"steps": 3})
    train, val = examples(24), examples(9, seed=1)
    first = seed_runs.train_or_read(clip, settings, 0, train, val, tmp_path)
    monkeypatch.setattr(seed_runs, "train", lambda *args: pytest.fail("trained again"))
    again = seed_runs.train_or_read(clip, settings, 0, train, val, tmp_path)
    assert again.calibration == first.calibration and again.step == first.step
    assert all(torch.equal(first.weights[name], again.weights[name]) for name in first.weights)
