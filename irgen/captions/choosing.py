"""Which frames of a source are captioned, and with that learnt from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from irgen import seeds
from irgen.records import Frame


def choose(frames: Sequence[Frame], limit: int, seed: int) -> list[Frame]:
    """Choose at most `limit` frames that have LWIR, pairs before others, spread evenly over videos and within them.

    Neighbouring frames of a video are almost equal, so that within a video the choice is evenly spaced.

    Args:
        frames: of one split.
        limit: how many at most.
        seed: decides where in its video a choice begins, and which videos give one frame more.

    Returns:
        Frames, sorted by id.
    """
    pairs = _spread([frame for frame in frames if frame.is_pair], limit, seed)
    others = _spread([frame for frame in frames if frame.lwir and not frame.visible], limit - len(pairs), seed)
    return sorted([*pairs, *others], key=lambda frame: frame.id)


def _spread(frames: Sequence[Frame], limit: int, seed: int) -> list[Frame]:
    videos: dict[str, list[Frame]] = defaultdict(list)
    for frame in sorted(frames, key=lambda frame: frame.id):
        videos[frame.video].append(frame)
    names = sorted(videos)
    names = [names[k] for k in seeds.generator(seed, "videos", "choice of frames").permutation(len(names))]
    shares = _shares([len(videos[name]) for name in names], limit)
    chosen = []
    for name, share in zip(names, shares, strict=True):
        video = videos[name]
        offset = seeds.generator(seed, name, "choice of frames").random()
        chosen += [video[int((k + offset) * len(video) / share)] for k in range(share)]
    return chosen


def _shares(sizes: Sequence[int], limit: int) -> list[int]:
    """Deal `limit` out as evenly as sizes allow; the first get what cannot be divided."""
    shares = [0] * len(sizes)
    left = min(limit, sum(sizes))
    while left > 0:
        hungry = [k for k, size in enumerate(sizes) if shares[k] < size]
        each = left // len(hungry)
        for k in hungry if each else hungry[:left]:
            more = min(max(each, 1), sizes[k] - shares[k])
            shares[k] += more
            left -= more
    return shares
