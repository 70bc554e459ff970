"""Prefect tasks: what a stage's flow does, observed and recorded; everything that computes is in irgen."""
