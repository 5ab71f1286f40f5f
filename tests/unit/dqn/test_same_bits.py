"""Plain and double DQN written out as a function, against the agent made of joints: bit for bit.

The oracle is the update as it stood before losses, networks, replay and acting became values.
"""

import copy
from functools import partial

import pytest
import torch
from helpers.playing import q_network

import rmsprop
from dqn.agent import DQN
from dqn.losses.td import QLearning
from dqn.networks.native import note_written
from dqn.networks.torsos import MLP, MinAtarCNN, NatureCNN
from dqn.types import Batch

DISCOUNT, PERIOD, BATCH_SIZE, NUM_ACTIONS = 0.99, 7, 8, 3
SHAPES = {"cartpole": (4,), "minatar": (4, 10, 10), "pong": (4, 84, 84)}


def batches(game, n_step, count):
    generator = torch.Generator().manual_seed(5)
    for _ in range(count):
        if game == "cartpole":
            s_tm1, s_t = torch.randn(2, BATCH_SIZE, 4, generator=generator)
        else:
            high, shape = (2 if game == "minatar" else 256), (2, BATCH_SIZE, *SHAPES[game])
            s_tm1, s_t = torch.randint(high, shape, dtype=torch.uint8, generator=generator)
        r_shape = (BATCH_SIZE,) if n_step == 1 else (BATCH_SIZE, n_step)
        yield Batch(
            s_tm1=s_tm1,
            a_tm1=torch.randint(NUM_ACTIONS, (BATCH_SIZE,), generator=generator),
            r_t=torch.randint(-3, 4, r_shape, generator=generator).float(),
            is_terminal_t=torch.rand(BATCH_SIZE, generator=generator) < 0.2,
            s_t=s_t,
            num_steps=torch.randint(1, n_step + 1, (BATCH_SIZE,), generator=generator),
        )


def plain_update(network, target_network, optimizer, batch, *, double_q_learning, forward):
    r_t = batch.r_t.clamp(-1.0, 1.0)
    if r_t.dim() == 2:
        r_t = (r_t * DISCOUNT ** torch.arange(r_t.shape[1], dtype=r_t.dtype)).sum(dim=1)
    discount_t = DISCOUNT ** batch.num_steps.to(r_t.dtype) * ~batch.is_terminal_t
    with torch.no_grad():
        q_t_target = forward(target_network, batch.s_t)
        q_t_selector = forward(network, batch.s_t) if double_q_learning else q_t_target
    q_tm1 = forward(network, batch.s_tm1)
    q_t = q_t_target.gather(1, q_t_selector.argmax(dim=1)[:, None]).squeeze(1)
    td_error = (r_t + discount_t * q_t).detach() - q_tm1.gather(1, batch.a_tm1[:, None]).squeeze(1)
    quadratic = td_error.abs().clamp(max=1.0)
    loss = (0.5 * quadratic.square() + 1.0 * (td_error.abs() - quadratic)).sum()
    for parameter in network.parameters():
        parameter.grad = None
    loss.backward()
    optimizer.step()
    note_written(tuple(network.parameters()))
    return loss.detach()


def forward(network, states, *, bfloat16):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
        return network(states).q_values


@pytest.mark.parametrize(("double_q_learning", "n_step"), [(False, 1), (True, 3)])
@pytest.mark.parametrize("implementation", ["auto", "torch"])
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("game", ["cartpole", "minatar", "pong"])
def test_updates_have_the_bits_of_the_written_out_ones(
    game, bfloat16, implementation, double_q_learning, n_step
):
    torsos = {
        "cartpole": partial(MLP, hidden_sizes=[16]),
        "minatar": partial(MinAtarCNN, implementation=implementation),
        "pong": partial(NatureCNN, implementation=implementation),
    }
    torch.manual_seed(0)
    network = q_network(torsos[game], SHAPES[game], NUM_ACTIONS)
    expected, expected_target = copy.deepcopy(network), copy.deepcopy(network)
    build = partial(rmsprop.RMSprop, **rmsprop.dialects["deepmind"])
    optimizer = build(expected.parameters())
    agent = DQN(
        network=network,
        target_network=copy.deepcopy(network),
        optimizer=build(network.parameters()),
        num_actions=NUM_ACTIONS,
        loss=QLearning(error_bound=1.0),
        reduction="sum",
        max_grad_norm=None,
        double_q_learning=double_q_learning,
        discount=DISCOUNT,
        reward_clip=1.0,
        target_update_period_updates=PERIOD,
        exploration_seed=0,
        device=torch.device("cpu"),
        autocast_dtype=torch.bfloat16 if bfloat16 else None,
        compiled=False,
    )
    count = 10 if game == "pong" else 200
    for number, batch in enumerate(batches(game, n_step, count), start=1):
        loss = plain_update(
            expected,
            expected_target,
            optimizer,
            batch,
            double_q_learning=double_q_learning,
            forward=partial(forward, bfloat16=bfloat16),
        )
        if number % PERIOD == 0:
            expected_target.load_state_dict(expected.state_dict())
        assert torch.equal(agent.learn(batch).loss, loss)
    for name, parameter in expected.named_parameters():
        assert torch.equal(network.get_parameter(name), parameter), name
