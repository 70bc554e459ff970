"""Text and noise to image, step by step, and the adapter that turns a base model to infrared."""

from irgen.generators.flux import FluxGenerator

__all__ = ["FluxGenerator"]
