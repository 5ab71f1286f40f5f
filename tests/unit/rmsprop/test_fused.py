"""Who can take the fused step, what is said to the others, and that nothing is left behind."""

import logging

import pytest
import torch

from rmsprop import RMSprop, fused


def test_fused_leaves_no_state_behind_where_it_cannot_step():
    # The parameter may be given memory later, and must find no state on the meta device then.
    model = torch.nn.Linear(2, 1, device="meta")
    optimizer = RMSprop(model.parameters(), fused=True)
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    with pytest.raises(RuntimeError, match="floating point Tensors on cpu or cuda"):
        optimizer.step()
    assert not any(optimizer.state.values())


def test_fused_is_refused_with_the_reason_where_it_cannot_be_had(monkeypatch):
    class Subclass(torch.nn.Parameter):
        pass

    with torch.inference_mode():
        inference = torch.ones(1)
    for param, reason in [
        (Subclass(torch.ones(1)), "plain tensors, not Subclass"),
        (inference, "inference tensors cannot"),
        (torch.ones(1, dtype=torch.float8_e4m3fn), "floating-point parameters, not torch.float8"),
        (torch.ones(1, device="meta"), "not on meta"),
    ]:
        param.grad = torch.ones_like(param)
        with pytest.raises(RuntimeError, match=reason):
            RMSprop([param], fused=True).step()

    def no_compiler(dtype):
        raise OSError("no C++ compiler found")

    monkeypatch.setattr(fused, "_cpu_function", no_compiler)
    param = torch.ones(1)
    param.grad = torch.ones(1)
    with pytest.raises(RuntimeError, match="no C\\+\\+ compiler found; use fused=None"):
        RMSprop([param], fused=True).step()


def test_without_a_compiler_the_default_takes_the_for_loop_and_says_so_once(monkeypatch, caplog):
    def no_compiler(dtype):
        raise OSError("no C++ compiler found")

    monkeypatch.setattr(fused, "_cpu_function", no_compiler)
    fused._say_once.cache_clear()
    param, expected = torch.ones(2), torch.ones(2)
    with caplog.at_level(logging.WARNING, logger="rmsprop"):
        optimizers = RMSprop([param]), RMSprop([expected], fused=False)
        for _ in range(3):
            for theta, optimizer in zip((param, expected), optimizers, strict=True):
                theta.grad = theta.clone()
                optimizer.step()
    fused._say_once.cache_clear()
    assert torch.equal(param, expected)
    assert [record.message for record in caplog.records] == [
        "no fused step: no C++ compiler found; using the for-loop (fused=False silences this)"
    ]
