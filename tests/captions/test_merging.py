import pytest

from irgen.captions import forms
from irgen.captions.merging import clean, merge
from irgen.captions.tokens import count_tokens
from irgen.records import Caption

EMPTY = "a road by day"
PEOPLE = "a road by day with two people near on the left"


def rules(text: str) -> Caption:
    return Caption("f", "train", text, forms.infrared(text), forms.grayscale(text), "rules", 20, False)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a photo of a street with parked cars", ["a street", "parked cars"]),
        ("The image shows a busy city street. It is a lovely day.", ["a busy city street"]),
        ("there is a bus that is driving down the road at night", ["a bus that is driving down the road"]),
        ("a red and white bus on a sunny day", ["a bus"]),
        ("an orange car next to a dark-blue van", ["a car", "a van"]),
        ("a black umbrella, white, green and red signs", ["an umbrella", "signs"]),
        ("a street with traffic lights and a street light", ["a street", "traffic signal", "a street lamp"]),
        ("A black and white photo of a building", ["a building"]),
        ("an aerial view of a parking lot", ["a parking lot"]),
        ("the sky is blue", ["the sky"]),
        ("", []),
        ("white", []),
        ("...", []),
    ],
)
def test_colour_light_and_talk_of_pictures_are_taken_out(said: str, kept: list[str]) -> None:
    assert clean(said) == kept


def test_the_models_own_people_yield_to_the_rules() -> None:
    said = "a group of five people walking down a street with tall buildings and a man riding a bike"
    assert merge(rules(PEOPLE), said, count_tokens, 77, annotated=True).caption == f"{PEOPLE}, tall buildings"
    # Boxes that hold one cyclist say, too, that nobody walks there.
    spoken = "a road by day with one cyclist far on the right"
    assert merge(rules(spoken), said, count_tokens, 77, annotated=True).caption == f"{spoken}, tall buildings"


def test_where_there_are_no_boxes_the_models_word_of_people_stands() -> None:
    merged = merge(rules(EMPTY), "a woman at a bus stop", count_tokens, 77, annotated=False)
    assert merged.caption == f"{EMPTY}, a woman at a bus stop"
    assert merged.origin == "vlm+rules"
    assert merged.infrared == forms.infrared(merged.caption) and merged.grayscale == forms.grayscale(merged.caption)
    assert merged.tokens == count_tokens(merged.grayscale) and not merged.shortened


def test_what_does_not_fit_is_left_out_from_the_end_and_marked() -> None:
    said = "tall buildings, parked cars, a wide crossing, several trees"
    whole = merge(rules(PEOPLE), said, count_tokens, 77, annotated=True)
    assert not whole.shortened
    for limit in range(whole.tokens - 1, count_tokens(rules(PEOPLE).grayscale) - 1, -1):
        merged = merge(rules(PEOPLE), said, count_tokens, limit, annotated=True)
        assert merged.shortened and merged.caption.startswith(PEOPLE)
        assert count_tokens(merged.grayscale) <= limit
    assert merged.caption == PEOPLE and merged.origin == "rules"


def test_a_model_that_adds_nothing_changes_nothing() -> None:
    assert merge(rules(PEOPLE), "two people in the dark.", count_tokens, 77, annotated=True) == rules(PEOPLE)
