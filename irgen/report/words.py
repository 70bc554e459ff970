"""What the report's sets, figures and judges are called, which way is better, and what each means."""

from __future__ import annotations

from typing import NamedTuple

TITLES = {
    "real": "Real",
    "floor": "Real (floor)",
    "grayscale": "Grayscale",
    "inverted": "Inverted grayscale",
    "unguided": "Unguided",
    "guided": "Guided",
    "worst": "Lowest score",
}
MEANINGS = {
    "real": "LWIR of test frames, the reference",
    "floor": "LWIR of train frames: no generator should undercut it at this N",
    "grayscale": "luma of the visible image of test frames: the baseline to beat",
    "inverted": "its negative: what users of such generators complain of",
    "unguided": "the first candidate of each prompt, as without a search",
    "guided": "the candidate that the verifier chose",
    "worst": "the candidate that the verifier liked least",
}
NEGATIVES = {
    "gray": "grayscale of the visible image",
    "inverted": "inverted grayscale",
    "agc": "infrared with a wrong gain control",
    "rgb": "the visible image",
    "own": "the adapted base's own samples",
    "match": "itself with a shuffled caption (match)",
}


class Metric(NamedTuple):
    """How a figure is shown.

    Attributes:
        title: its name.
        better: "smaller", "larger" or "" where neither end is.
        meaning: in a line.
    """

    title: str
    better: str
    meaning: str

    @property
    def arrow(self) -> str:
        """Which way is better."""
        return {"smaller": " ↓", "larger": " ↑", "": ""}[self.better]


METRICS = {
    "frechet": Metric("FID", "smaller", "Fréchet distance to real test frames; biased upwards by a small N"),
    "kernel": Metric("KID", "smaller", "kernel distance to real test frames, without that bias; may be below 0"),
    "precision": Metric("Precision", "larger", "share of images that lie among real ones"),
    "recall": Metric("Recall", "larger", "share of real images that lie among these"),
    "density": Metric("Density", "larger", "precision that counts how many real ones are near; about 1 for real ones"),
    "coverage": Metric("Coverage", "larger", "share of real images with one of these nearby"),
    "vendi": Metric("Vendi score", "larger", "effective number of different images"),
    "copying": Metric("Copying", "", "how often nearer to a learnt frame than new real frames are; 0.5 is no copy"),
    "irscore": Metric("IRSCORE", "larger", "the verifier's opinion"),
    "score": Metric("Guide's score", "larger", "what the search maximised"),
    "realism": Metric("Realism", "larger", "mean of the seven aspects below; about 0 is as usual as real frames are"),
    "realism_natural_scene": Metric("Natural-scene statistics", "larger", "as NIQE's, learnt on real train frames"),
    "realism_histogram": Metric("Grey-level histogram", "larger", "what gain control left of the temperatures"),
    "realism_spectrum": Metric("Power spectrum", "larger", "blur, ringing, over-sharpening"),
    "realism_noise": Metric("Row, column, pixel noise", "larger", "a camera's own"),
    "realism_pattern": Metric("Blocks and repeats", "larger", "of compression and of generators"),
    "realism_edges": Metric("Edge profiles", "larger", "halos, over-sharpening, inversion"),
    "realism_bodies": Metric("Warm bodies", "larger", "contrast of person-sized blobs, warm against cold"),
    "histogram_distance": Metric("Histogram distance", "smaller", "to all real test frames together, in grey levels"),
    "brightness": Metric("Brightness", "", "mean grey level, 0 to 255"),
    "contrast": Metric("Contrast", "", "standard deviation of an image's grey levels"),
    "saturated": Metric("Saturated", "", "share of pixels at black or white"),
    "colour": Metric("Colour", "smaller", "largest difference of two channels, in grey levels; infrared has R = G = B"),
}
SPREAD = ("precision", "recall", "density", "coverage", "vendi", "copying")
PIXELS = ("histogram_distance", "brightness", "contrast", "saturated", "colour")


def title_of(images: str) -> str:
    """Name a set of images; `best_of_4` is a smaller search's."""
    if images.startswith("best_of_"):
        return f"Best of {images.removeprefix('best_of_')}"
    return TITLES[images]


def meaning_of(images: str) -> str:
    """Say what a set of images is."""
    return MEANINGS.get(images, "what a search with so many candidates would have kept")
