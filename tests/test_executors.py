"""Where lanes may run, by name."""

import sys

import pytest

from irgen import executors
from irgen.errors import SettingsError
from irgen.hosts import LocalHosts


def test_lanes_run_here_unless_ray_is_asked_for() -> None:
    with executors.opened("local") as where:
        assert isinstance(where, LocalHosts)


def test_where_ray_is_absent_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "irgen.ray_hosts", raising=False)
    monkeypatch.delattr("irgen.ray_hosts", raising=False)
    with pytest.raises(SettingsError, match=r"pip install 'irgen\[ray\]'"), executors.opened("ray"):
        pass
