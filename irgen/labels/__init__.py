"""Boxes of generated images: what detectors that learnt on real infrared find, and what the image was made from."""
