"""The two forms of a caption between which a verifier decides, and on the first of which the adapter is trained."""

INFRARED_PREFIX = "An INFRARED photo of "
GRAYSCALE_PREFIX = "A GRAYSCALE photo of "


def infrared(caption: str) -> str:
    """Say that the caption's scene was taken in infrared."""
    return INFRARED_PREFIX + caption


def grayscale(caption: str) -> str:
    """Say that the caption's scene was taken in plain grayscale."""
    return GRAYSCALE_PREFIX + caption
