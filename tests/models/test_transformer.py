# mypy: disable-error-code="arg-type, misc, operator, union-attr, var-annotated"
from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from models.transformer import QuickGelu, Transformer


def network(activation: str = "quick_gelu") -> Transformer:
    torch.manual_seed(0)
    return Transformer(32, 3, 4, activation)


@pytest.mark.parametrize("causal", [False, True])
@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 7)), min_size=1, max_size=4))
def test_sequences_in_blocks_come_out_as_each_alone(causal: bool, blocks: list[tuple[int, int]]) -> None:
    stack = network()
    lengths = [length for num, length in blocks for _ in range(num)]
    x_NW = torch.randn(sum(lengths), 32, generator=torch.Generator().manual_seed(len(lengths)))
    alone = torch.cat([stack(part, [(1, len(part))], causal) for part in x_NW.split(lengths)])
    torch.testing.assert_close(stack(x_NW, blocks, causal), alone, atol=1e-5, rtol=0)


def test_a_causal_row_does_not_see_those_after_it() -> None:
    stack, x_NW = network(), torch.randn(6, 32)
    spoiled = torch.cat([x_NW[:4], torch.randn(2, 32)])
    torch.testing.assert_close(stack(spoiled, [(1, 6)], True)[:4], stack(x_NW, [(1, 6)], True)[:4])
    assert not torch.allclose(stack(spoiled, [(1, 6)], False)[:4], stack(x_NW, [(1, 6)], False)[:4])


def test_checkpointed_blocks_give_equal_values_and_gradients() -> None:
    kept, again = network(), network()
    again.checkpointing = True
    x_NW = torch.randn(10, 32, requires_grad=True)
    grads = []
    for stack in (kept, again):
        out = stack(x_NW, [(2, 5)], True)
        grads.append((out, *torch.autograd.grad(out.square().sum(), [x_NW, *stack.parameters()])))
    assert all(torch.equal(one, other) for one, other in zip(*grads, strict=True))


def test_checkpointed_blocks_keep_less_for_the_backward_pass() -> None:
    stack, x_NW = network(), torch.randn(64, 32, requires_grad=True)
    kept: dict[bool, int] = {}
    for enabled in (False, True):
        stack.checkpointing, sizes = enabled, []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t):
            stack(x_NW, [(8, 8)])
        kept[enabled] = sum(sizes)
    assert kept[True] < 0.2 * kept[False]


def test_values_are_what_attention_gives_a_row_alone() -> None:
    block = network().resblocks[0]
    x_NW = torch.randn(5, 32)
    torch.testing.assert_close(block.values(x_NW), block(x_NW, [(5, 1)], False), atol=1e-6, rtol=0)


def test_quick_gelu_is_x_sigmoid_of_1702_x_with_its_gradient() -> None:
    x = torch.linspace(-30, 30, 2001, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(QuickGelu()(x), x * torch.sigmoid(1.702 * x))
    assert torch.autograd.gradcheck(QuickGelu(), x[::50])


def test_the_activation_is_the_one_asked_for() -> None:
    assert isinstance(network("gelu").resblocks[0].mlp.gelu, nn.GELU)
    assert isinstance(network().resblocks[0].mlp.gelu, QuickGelu)


def test_the_kernel_for_many_lengths_takes_rows_and_bounds_and_gives_rows_and_their_gradient() -> None:
    with torch.device("meta"):  # shapes only: the kernel itself is a GPU's
        attention = network().resblocks[0].attn
        qkv = torch.empty(11, 96, dtype=torch.bfloat16, requires_grad=True)
        mixed = attention._mix_at_once(qkv, torch.empty(4, dtype=torch.int32), 4, causal=True)
    assert (mixed.shape, mixed.dtype) == ((11, 32), torch.bfloat16)
    mixed.sum().backward()
    assert qkv.grad.shape == qkv.shape
