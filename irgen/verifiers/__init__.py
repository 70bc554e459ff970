"""Image and caption to score: how much of real infrared there is in an image."""

from irgen.verifiers.irscore import IrScore

__all__ = ["IrScore"]
