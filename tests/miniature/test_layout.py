"""Who stands where: the maps that the miniature's flow learns beside its own target."""

import numpy as np
import torch

from irgen.miniature.pretraining import layout
from irgen.miniature.pretraining.corpus import Corpus, _frame
from irgen.miniature.pretraining.scene_targets import LABELS
from irgen.records import Box

CELLS = layout.CELLS_PER_SIDE**2


def corpus_of(*boxes: list[Box]) -> Corpus:
    frames = [_frame(f"train/{k}", "day", "road", each) for k, each in enumerate(boxes)]
    count = len(frames)
    return Corpus(np.zeros((count, 80, 96, 3), np.uint8), np.zeros((count, 80, 96), np.uint8), frames)


def test_a_box_of_one_token_is_on_its_class_and_token_only() -> None:
    person = LABELS.index("person")
    maps = layout.targets(corpus_of([Box("person", 16, 8, 8, 8)]), copies_every=8)[0]
    row = 1 * layout.COLUMNS + 2
    assert (maps[row, person * CELLS : (person + 1) * CELLS] == 255).all()
    assert int(maps.sum(dtype=torch.int64)) == 255 * CELLS


def test_half_a_token_fills_the_cells_of_that_half() -> None:
    car = LABELS.index("car")
    maps = layout.targets(corpus_of([Box("car", 0, 0, 8, 4)]), copies_every=8)[0]
    assert maps[0, car * CELLS : (car + 1) * CELLS].tolist() == [255, 255, 0, 0]


def test_rows_follow_the_flow_s_latents_all_scenes_then_some_again() -> None:
    scenes = [[Box("person", 8.0 * k, 0, 8, 8)] for k in range(5)]
    maps = layout.targets(corpus_of(*scenes), copies_every=2)
    assert len(maps) == 5 + 3
    torch.testing.assert_close(maps[5:], maps[[0, 2, 4]])


def test_a_right_map_costs_less_than_a_wrong_one() -> None:
    maps = layout.targets(corpus_of([Box("person", 16, 8, 8, 8)]), copies_every=8)
    right = torch.where(maps > 0, 8.0, -8.0)
    assert layout.loss(right, maps) < 0.01 < layout.loss(-right, maps)


def test_both_text_encoders_are_read() -> None:
    head = layout.TextHead(pooled_width=4)
    text, pooled = torch.zeros(2, 5, layout.T5_WIDTH), torch.zeros(2, 4)
    base = head(text, pooled)
    assert base.shape == (2, layout.ROWS * layout.COLUMNS, layout.TARGETS)
    assert not torch.equal(head(text, pooled + 1), base)
    words = torch.zeros_like(text)
    words[:, 0, : layout.T5_WIDTH // 2] = 1
    assert not torch.equal(head(words, pooled), base)
