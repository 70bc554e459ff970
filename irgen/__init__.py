"""irgen builds labelled synthetic infrared datasets: adapt, search, label, write, validate."""

__version__ = "0.1.0"
