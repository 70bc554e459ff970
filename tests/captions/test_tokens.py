import open_clip
import pytest

from irgen.captions.tokens import count_tokens


@pytest.mark.parametrize("text", ["", "a road by day", "An INFRARED photo of two people, near", "cyclist " * 40])
def test_tokens_are_those_of_open_clips_tokenizer(text: str) -> None:
    tokens = open_clip.SimpleTokenizer()([text], context_length=200)[0]
    assert count_tokens(text) == int((tokens != 0).sum())
