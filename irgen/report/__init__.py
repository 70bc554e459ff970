"""Numbers and pictures of a dataset, and the page that shows them."""

from irgen.report.summary import summary

__all__ = ["summary"]
