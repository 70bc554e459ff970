"""The tokenizers lose nothing that a caption says, and the architectures are what diffusers and open_clip expect."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from irgen.captions import forms, rules
from irgen.miniature import models

T5, CLIP = models.t5_tokenizer(), models.clip_tokenizer()
sentences = st.lists(st.sampled_from(sorted(rules.VOCABULARY)), min_size=1, max_size=30).map(" ".join)


@given(sentences)
def test_t5_is_lossless_on_captions_and_takes_a_token_a_word(text: str) -> None:
    for form in (forms.infrared(text), forms.grayscale(text), models.COLOR_PREFIX + text):
        ids = T5(form).input_ids
        assert T5.unk_token_id not in ids and len(ids) == len(form.split()) + 1
        assert T5.decode(ids, skip_special_tokens=True) == form


@given(sentences)
def test_clip_is_lossless_on_captions_but_for_case(text: str) -> None:
    form = forms.infrared(text)
    assert CLIP.decode(CLIP(form).input_ids, skip_special_tokens=True).strip() == form.lower()


def test_case_counts_for_t5() -> None:
    assert T5("An INFRARED photo").input_ids != T5("An infrared photo").input_ids
    assert T5.unk_token_id not in T5("An infrared photo").input_ids


@pytest.mark.parametrize("text", ["zebra crossing", "Thermal-camera v2", "(wet) street!"])
def test_other_words_are_spelt_out(text: str) -> None:
    ids = T5(text).input_ids
    assert T5.unk_token_id not in ids
    assert T5.decode(ids, skip_special_tokens=True) == text
    assert CLIP.unk_token_id is None or len(CLIP(text).input_ids) > 4


def test_the_end_token_is_clips_highest_so_that_open_clip_pools_there() -> None:
    assert CLIP.eos_token_id == len(CLIP) - 1 == CLIP.pad_token_id


def test_an_untrained_transformer_predicts_no_velocity() -> None:
    model = models.build_transformer().eval()
    with torch.no_grad():
        velocity = model(
            hidden_states=torch.randn(1, 120, 32),
            timestep=torch.tensor([0.5]),
            guidance=torch.ones(1),
            pooled_projections=torch.randn(1, models.CLIP_WIDTH),
            encoder_hidden_states=torch.randn(1, 8, models.T5_WIDTH),
            txt_ids=torch.zeros(8, 3),
            img_ids=torch.zeros(120, 3),
        ).sample
    assert velocity.shape == (1, 120, 32) and not velocity.any()
