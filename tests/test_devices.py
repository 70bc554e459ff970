"""Rows that a device takes at once, and what they do to each other."""

import os
import subprocess
import sys

import pytest
import torch

from irgen import devices

ALIKE = (
    "tests/verifiers/test_irscore.py::test_a_score_does_not_depend_on_the_other_images_bit_for_bit",
    "tests/generators/test_flux.py::test_an_image_does_not_depend_on_its_neighbours_or_place[fp32]",
)


@pytest.mark.parametrize(("gpu", "alike", "taken"), [(False, True, 8), (False, False, 1), (True, False, 8)])
def test_rows_are_taken_one_by_one_where_a_cpu_does_not_treat_them_alike(
    monkeypatch: pytest.MonkeyPatch, gpu: bool, alike: bool, taken: int
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(devices, "_cpu_treats_rows_alike", lambda: alike)
    assert devices.rows_at_once(8) == taken


def test_no_image_depends_on_its_neighbours_on_an_older_cpu_either() -> None:
    older = {**os.environ, "MKL_ENABLE_INSTRUCTIONS": "AVX2"}  # read once, when the process begins
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ALIKE]
    tested = subprocess.run(command, env=older, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout
