from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from irgen.captions.choosing import choose
from irgen.records import Frame


def frame(video: str, number: int, visible: bool = True, lwir: bool = True) -> Frame:
    name = f"{video}/{number:05d}"
    paths = {"visible": "v" * visible, "lwir": "l" * lwir, "visible_sha256": "", "lwir_sha256": ""}
    return Frame(name, "kaist", "train", "", video, "day", "", **paths, width_px=4, height_px=4)


def videos(sizes: list[int], **modalities: bool) -> list[Frame]:
    return [frame(f"V{v:03d}", n, **modalities) for v, size in enumerate(sizes) for n in range(size)]


@given(st.lists(st.integers(0, 30), max_size=6), st.integers(1, 80), st.integers(0, 3))
def test_the_choice_is_as_large_and_as_even_as_it_can_be(sizes: list[int], limit: int, seed: int) -> None:
    frames = videos(sizes)
    chosen = choose(frames, limit, seed)
    assert len(chosen) == len({one.id for one in chosen}) == min(limit, sum(sizes))
    assert [one.id for one in chosen] == sorted(one.id for one in chosen)
    assert chosen == choose(frames[::-1], limit, seed)
    shares = Counter(one.video for one in chosen)
    most = max(shares.values(), default=0)
    assert all(shares[f"V{v:03d}"] >= min(size, most - 1) for v, size in enumerate(sizes))


def test_a_video_is_sampled_at_even_steps() -> None:
    numbers = [int(one.id[-5:]) for one in choose(videos([1000]), 10, 0)]
    assert {later - earlier for earlier, later in pairwise(numbers)} == {100}


def test_another_seed_chooses_other_frames() -> None:
    assert choose(videos([100, 100]), 10, 0) != choose(videos([100, 100]), 10, 1)


def test_pairs_come_before_frames_with_lwir_alone_and_visible_alone_is_never_taken() -> None:
    frames = (
        videos([5]) + [frame("W", n, visible=False) for n in range(5)] + [frame("X", n, lwir=False) for n in range(5)]
    )
    assert {one.video for one in choose(frames, 5, 0)} == {"V000"}
    assert Counter(one.video for one in choose(frames, 8, 0)) == {"V000": 5, "W": 3}
    assert len(choose(frames, 50, 0)) == 10
