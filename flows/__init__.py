"""Prefect flows: one a stage, each its own deployment, and `build_dataset`, which calls them all in order."""
