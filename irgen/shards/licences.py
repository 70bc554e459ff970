"""Whose terms a generated image is under: those of the frames that taught the model, and of the model itself."""

SOURCES = {
    "kaist": "KAIST Multispectral Pedestrian, CC BY-NC-SA 4.0: not for commercial use, shared under the same licence",
    "roadscene": "RoadScene, no licence stated; derived from FLIR video",
    "hit-uav": "HIT-UAV, CC BY 4.0",
    "folder": "a folder of images; see its owner's licence",
    "miniature": "irgen's built-in drawn scenes, Apache-2.0",
}
BASES = {
    "flux.1-dev": "FLUX.1-dev: the FLUX.1 [dev] Non-Commercial License, whose terms speak of the model's outputs, too; "
    "read it before images or what is trained on them are used commercially",
    "flux.1-schnell": "FLUX.1-schnell: Apache-2.0",
    "miniature": "irgen's built-in miniature, Apache-2.0",
}
FREE = ("flux.1-schnell", "miniature")
"""Bases that are known to ask for no more than their name."""
OTHER_BASE = "see the model's own card"
BY_SOURCE = {"kaist": "cc-by-nc-sa-4.0", "hit-uav": "cc-by-4.0"}
"""Of the card where the settings name none: what is made of such frames is shared under their licence."""
OTHER = "other"


def source_terms(source: str) -> str:
    """Say under which terms a source's frames are."""
    return SOURCES.get(source, f"{source}: see its owner's licence")


def base_terms(model: str) -> str:
    """Say under which terms a base model's images are."""
    return next((terms for name, terms in BASES.items() if name in model.lower()), OTHER_BASE)


def licence(named: str, source: str, model: str) -> str:
    """Return the licence for a card's header, as the hub spells it.

    Args:
        named: in the settings; taken as it is.
        source: of the frames.
        model: the base.
    """
    by_source = BY_SOURCE.get(source, OTHER)
    # A licence of the frames that may allow more than the base does is not the images'.
    if "-nc-" not in by_source and not any(name in model.lower() for name in FREE):
        by_source = OTHER
    return named or by_source
