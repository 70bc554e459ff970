"""Shares and sums, with threads in place of processes."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from irgen.collective import ALONE, Group
from tests.thread_group import together


@given(count=st.integers(0, 200), size=st.integers(1, 40))
def test_shares_are_all_items_once_and_nearly_equal(count: int, size: int) -> None:
    shares = [Group(rank, size).share(count) for rank in range(size)]
    assert [item for share in shares for item in share] == list(range(count))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("size", [2, 3, 7])
def test_loss_and_gradients_of_a_group_are_those_of_one_process(size: int) -> None:
    rows, target = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).double()

    def learn(group: Group) -> tuple[torch.Tensor, ...]:
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 16, dtype=torch.float64).view(4, 4))
        scale = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        features = group.mapped(lambda some: F.normalize(some @ weight, dim=1), rows)
        loss = F.cross_entropy(group.counted_once(scale.exp()) * features @ features.T, target.argmax(1))
        loss.backward()
        group.add_gradients([weight, scale])
        assert weight.grad is not None and scale.grad is not None
        return loss.detach(), weight.grad, scale.grad

    alone = learn(ALONE)
    for each in together(size, learn):
        torch.testing.assert_close(each, alone, rtol=1e-12, atol=1e-12)


def test_a_parameter_without_a_gradient_here_gets_that_of_the_others() -> None:
    def give(group: Group) -> torch.Tensor | None:
        parameter = torch.nn.Parameter(torch.zeros(3))
        if group.rank == 1:
            parameter.grad = torch.arange(3.0)
        group.add_gradients([parameter])
        return parameter.grad

    assert [each.tolist() for each in together(2, give)] == [[0, 1, 2]] * 2


def test_values_are_summed_in_double_precision() -> None:
    assert together(2, lambda group: group.total(1 / 3)) == [2 / 3] * 2
    assert ALONE.total(1 / 3) == 1 / 3
