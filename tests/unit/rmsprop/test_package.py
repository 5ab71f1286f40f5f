"""What ``import rmsprop`` gives."""

import torch

import rmsprop


def test_the_snippet_of_pytorch_runs_unchanged_on_the_package():
    import rmsprop as optim

    model = torch.nn.Linear(2, 1)
    optimizer = optim.RMSprop(model.parameters(), lr=0.01, alpha=0.9, eps=1e-8)
    before = model.weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(model.weight, before)


def test_public_names_are_those_exported():
    assert sorted(rmsprop.__all__) == rmsprop.__all__
    assert all(hasattr(rmsprop, name) for name in rmsprop.__all__)
