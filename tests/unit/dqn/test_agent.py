"""The agent against updates worked by hand and by a NumPy loop over single transitions."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from helpers.playing import epsilon_greedy, q_network
from helpers.trajectories import can_fuse
from torch import nn

import rmsprop
from dqn.agent import DQN, reduce_losses
from dqn.environments.accounting import opening_time_step
from dqn.losses.td import QLearning
from dqn.networks.outputs import QValues
from dqn.networks.torsos import MLP, NipsCNN
from dqn.types import Batch

NUM_FEATURES, NUM_ACTIONS = 3, 4
DISCOUNT = 0.9


class LinearQ(nn.Module):
    """Q(s, a) = w_a · s, in double precision."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight, dtype=torch.float64))

    def forward(self, states):
        return QValues(q_values=states @ self.weight.T)


def make_agent(
    network,
    optimizer,
    *,
    target_network=None,
    num_actions=NUM_ACTIONS,
    reduction="sum",
    **arguments,
):
    defaults = {
        "double_q_learning": False,
        "discount": DISCOUNT,
        "reward_clip": 1.0,
        "max_grad_norm": None,
        "target_update_period_updates": 1000,
        "exploration_seed": 0,
        "device": torch.device("cpu"),
        "autocast_dtype": None,
        "compiled": False,
    }
    return DQN(
        network=network,
        target_network=target_network or LinearQ(np.zeros(network.weight.shape)),
        optimizer=optimizer(network.parameters()),
        num_actions=num_actions,
        loss=QLearning(error_bound=1.0),
        reduction=reduction,
        **defaults | arguments,
    )


def random_weight(seed=0):
    return np.random.default_rng(seed).normal(size=(NUM_ACTIONS, NUM_FEATURES))


def random_batches(count, batch_size=32, seed=1):
    """Rewards of up to ±3, so that clipping matters, and terminals in one transition of five."""
    generator = np.random.default_rng(seed)
    return [
        Batch(
            s_tm1=torch.tensor(generator.normal(size=(batch_size, NUM_FEATURES))),
            a_tm1=torch.tensor(generator.integers(NUM_ACTIONS, size=batch_size)),
            r_t=torch.tensor(generator.integers(-3, 4, size=batch_size).astype(np.float64)),
            is_terminal_t=torch.tensor(generator.random(batch_size) < 0.2),
            s_t=torch.tensor(generator.normal(size=(batch_size, NUM_FEATURES))),
            num_steps=torch.ones(batch_size, dtype=torch.int64),
        )
        for _ in range(count)
    ]


SGD = partial(torch.optim.SGD, lr=0.02)


def numpy_dqn(weight, batches, *, lr, double_q_learning, reward_clip, period):
    """Algorithm 1 of Mnih et al. 2015, one transition at a time, errors clipped to ±1, summed."""
    weight, target_weight = weight.copy(), weight.copy()
    for number, batch in enumerate(batches, start=1):
        gradient = np.zeros_like(weight)
        transitions = zip(*(x.numpy() for x in batch[:6]), strict=True)
        for s_tm1, a_tm1, r_t, is_terminal_t, s_t, _ in transitions:
            reward = r_t if reward_clip is None else min(max(r_t, -reward_clip), reward_clip)
            q_t_target = target_weight @ s_t
            a_t = np.argmax(weight @ s_t if double_q_learning else q_t_target)
            target = reward if is_terminal_t else reward + DISCOUNT * q_t_target[a_t]
            td_error = target - weight[a_tm1] @ s_tm1
            gradient[a_tm1] -= min(max(td_error, -1.0), 1.0) * s_tm1
        weight -= lr * gradient
        if number % period == 0:
            target_weight = weight.copy()
    return weight


def test_one_update_equals_the_one_worked_by_hand():
    network = LinearQ([[1.0, 0.0], [0.0, 1.0]])
    agent = make_agent(
        network, partial(torch.optim.SGD, lr=0.1), num_actions=2, discount=0.5, reward_clip=1.0
    )
    output = agent.learn(
        Batch(
            s_tm1=torch.tensor([[1.0, 2.0]], dtype=torch.float64),
            a_tm1=torch.tensor([1]),
            r_t=torch.tensor([5.0], dtype=torch.float64),  # clipped to 1
            is_terminal_t=torch.tensor([False]),
            s_t=torch.tensor([[3.0, 1.0]], dtype=torch.float64),
            num_steps=torch.tensor([1]),
        )
    )
    # Q(s_tm1, .) = [1, 2]; target = 1 + 0.5 * max(3, 1) = 2.5; TD error = 2.5 - 2 = 0.5;
    # loss = 0.5² / 2; gradient of row 1 = -0.5 * [1, 2].
    assert output.loss.item() == pytest.approx(0.125)
    assert output.q_mean.item() == pytest.approx(1.5)
    expected = torch.tensor([[1.0, 0.0], [0.05, 1.1]], dtype=torch.float64)
    torch.testing.assert_close(network.weight.detach(), expected)
    assert not output.loss.requires_grad
    assert not output.q_mean.requires_grad


def test_n_step_targets_equal_those_worked_by_hand():
    # Rewards clipped to ±1. Three steps: 1 + 0.5 * 0 - 0.25 * 1 + 0.125 * max(3, 1) = 1.125; cut
    # after one: 1 + 0.5 * 3 = 2.5; ended after two: 0 + 0.5 * 1 = 0.5. Q(s_tm1, 1) = 2.
    network = LinearQ([[1.0, 0.0], [0.0, 1.0]])
    agent = make_agent(
        network, partial(torch.optim.SGD, lr=0.1), num_actions=2, discount=0.5, reward_clip=1.0
    )
    output = agent.learn(
        Batch(
            s_tm1=torch.tensor([[1.0, 2.0]] * 3, dtype=torch.float64),
            a_tm1=torch.tensor([1, 1, 1]),
            r_t=torch.tensor([[5.0, 0, -2], [1, 0, 0], [0, 1, 0]], dtype=torch.float64),
            is_terminal_t=torch.tensor([False, False, True]),
            s_t=torch.tensor([[3.0, 1.0]] * 3, dtype=torch.float64),
            num_steps=torch.tensor([3, 1, 2]),
        )
    )
    # TD errors -0.875, 0.5 and -1.5, the last beyond the bound; summed.
    assert output.loss.item() == pytest.approx(0.875**2 / 2 + 0.125 + 1.0)
    assert network.weight.detach()[1].tolist() == pytest.approx([-0.1375, 1 - 0.275])


@pytest.mark.parametrize("period", [1, 3, 1000])
@pytest.mark.parametrize("reward_clip", [1.0, None])
@pytest.mark.parametrize("double_q_learning", [False, True])
def test_updates_equal_a_loop_over_single_transitions(double_q_learning, reward_clip, period):
    weight, batches = random_weight(), random_batches(8)
    network = LinearQ(weight)
    agent = make_agent(
        network,
        SGD,
        double_q_learning=double_q_learning,
        reward_clip=reward_clip,
        target_update_period_updates=period,
    )
    for batch in batches:
        agent.learn(batch)
    expected = numpy_dqn(
        weight,
        batches,
        lr=0.02,
        double_q_learning=double_q_learning,
        reward_clip=reward_clip,
        period=period,
    )
    np.testing.assert_allclose(network.weight.detach().numpy(), expected, rtol=1e-10, atol=1e-12)
    assert agent.num_updates == 8


def test_the_cases_of_the_oracle_differ_from_one_another():
    # Otherwise the comparison above could not tell a flag that is ignored.
    results = [
        numpy_dqn(
            random_weight(),
            random_batches(8),
            lr=0.02,
            double_q_learning=double_q_learning,
            reward_clip=reward_clip,
            period=period,
        )
        for double_q_learning in (False, True)
        for reward_clip in (1.0, None)
        # At period 1 both networks are equal, and so are both kinds of Q-learning.
        for period in ((3, 1000) if double_q_learning else (1, 3, 1000))
    ]
    for index, result in enumerate(results):
        for other in results[:index]:
            assert np.abs(result - other).max() > 1e-6


def test_target_network_is_copied_at_its_period_and_never_trained():
    network = LinearQ(random_weight())
    agent = make_agent(network, SGD, target_update_period_updates=2)
    before = network.weight.detach().clone()
    torch.testing.assert_close(agent.target_network.weight, before, rtol=0, atol=0)
    first, second = random_batches(2)
    agent.learn(first)
    torch.testing.assert_close(agent.target_network.weight, before, rtol=0, atol=0)
    agent.learn(second)
    torch.testing.assert_close(agent.target_network.weight, network.weight.detach(), rtol=0, atol=0)
    assert agent.target_network.weight.grad is None
    assert not agent.target_network.weight.requires_grad


def test_period_one_still_bootstraps_from_the_previous_parameters():
    """Gradients do not flow into the target even where both networks are equal."""
    weight, (batch,) = random_weight(), random_batches(1)
    network = LinearQ(weight)
    agent = make_agent(network, SGD, target_update_period_updates=1)
    agent.learn(batch)
    reference = LinearQ(weight)
    q_t = reference(batch.s_t).q_values.max(dim=1).values.detach()
    target = batch.r_t.clamp(-1, 1) + DISCOUNT * ~batch.is_terminal_t * q_t
    prediction = reference(batch.s_tm1).q_values[torch.arange(32), batch.a_tm1]
    nn.functional.smooth_l1_loss(prediction, target, reduction="sum").backward()
    torch.testing.assert_close(network.weight.grad, reference.weight.grad)


def test_losses_are_weighed_and_reduced():
    losses = torch.tensor([1.0, 4.0, 0.5])
    weights = torch.tensor([1.0, 0.25, 2.0])
    assert reduce_losses(losses, None, "sum").item() == 5.5
    assert reduce_losses(losses, weights, "sum").item() == 3.0
    assert reduce_losses(losses, weights, "mean").item() == 1.0
    with pytest.raises(ValueError, match="reduction='none' must be 'sum' or 'mean'"):
        reduce_losses(losses, None, "none")


def test_a_mean_divides_the_summed_gradient_by_the_batch():
    summed = torch.tensor([0.2, -4.0, 9.0, 0.0], requires_grad=True)
    averaged = summed.detach().clone().requires_grad_()
    reduce_losses(summed.square(), None, "sum").backward()
    reduce_losses(averaged.square(), None, "mean").backward()
    torch.testing.assert_close(averaged.grad, summed.grad / 4)


def test_weights_of_one_change_no_bit_and_other_weights_scale_the_gradient():
    weight, (batch,) = random_weight(), random_batches(1)
    gradients = []
    for weights in (None, torch.ones(32), torch.full((32,), 0.5)):
        network = LinearQ(weight)
        make_agent(network, SGD).learn(batch._replace(weights=weights))
        gradients.append(network.weight.grad)
    assert torch.equal(gradients[0], gradients[1])
    torch.testing.assert_close(gradients[2], gradients[0] / 2)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_gradients_longer_than_max_grad_norm_are_scaled_down_to_it(factor):
    weight, (batch,) = random_weight(), random_batches(1)
    free = LinearQ(weight)
    make_agent(free, SGD).learn(batch)
    norm = free.weight.grad.norm().item()
    clipped = LinearQ(weight)
    make_agent(clipped, SGD, max_grad_norm=factor * norm).learn(batch)
    expected = free.weight.grad * min(1.0, factor)
    torch.testing.assert_close(clipped.weight.grad, expected, rtol=1e-5, atol=0)
    step = clipped.weight.detach() - torch.tensor(weight)
    torch.testing.assert_close(step, -0.02 * clipped.weight.grad)


def train_with_deepmind_rmsprop(*, reduction, dialect):
    network = LinearQ(random_weight())
    optimizer = partial(rmsprop.RMSprop, **rmsprop.dialects[dialect])
    agent = make_agent(network, optimizer, reduction=reduction, target_update_period_updates=5)
    for batch in random_batches(40):
        agent.learn(batch)
    return network.weight.detach()


def test_sum_loss_with_eps_001_and_mean_loss_with_eps_001_over_32_squared_train_alike():
    summed = train_with_deepmind_rmsprop(reduction="sum", dialect="deepmind")
    averaged = train_with_deepmind_rmsprop(reduction="mean", dialect="deepmind_mean_loss")
    torch.testing.assert_close(summed, averaged, rtol=1e-9, atol=1e-12)
    mismatched = train_with_deepmind_rmsprop(reduction="mean", dialect="deepmind")
    assert (mismatched - summed).abs().max() > 1e-3


def test_epsilon_greedy_follows_the_values_except_with_probability_epsilon():
    num_envs, epsilon = 200_000, 0.3
    policy = epsilon_greedy(lambda observation: np.full(len(observation), 2), 4, epsilon=epsilon)
    actions = policy(opening_time_step(np.zeros((num_envs, 1), np.float32)))
    frequencies = np.bincount(actions, minlength=4) / num_envs
    # Exploring draws the greedy action too. Five standard deviations of a binomial share.
    expected = np.array([0.075, 0.075, 0.775, 0.075])
    assert (abs(frequencies - expected) < 5 * np.sqrt(expected * (1 - expected) / num_envs)).all()


def test_generator_advances_alike_whatever_epsilon_is():
    states = []
    for epsilon in (0.0, 0.3, 1.0):
        policy = epsilon_greedy(
            lambda observation: np.zeros(len(observation), np.int64), 6, epsilon=epsilon
        )
        policy(opening_time_step(np.zeros((5, 1), np.float32)))
        states.append(policy.generator.bit_generator.state)
    assert states[0] == states[1] == states[2]


def test_network_is_not_asked_where_every_environment_explores():
    def refuse(observation):
        raise AssertionError("asked for values")

    policy = epsilon_greedy(refuse, 3, epsilon=1.0)
    actions = policy(opening_time_step(np.zeros((1000, 1), np.float32)))
    assert set(actions) == {0, 1, 2}


def test_greedy_actions_are_the_argmax_and_ties_go_to_the_lowest_index():
    agent = make_agent(LinearQ([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]]), SGD, num_actions=3)
    states = np.array([[2.0, 1.0], [1.0, 2.0], [-1.0, -2.0], [0.0, 0.0]])
    actions = agent.greedy_actions(states)
    np.testing.assert_array_equal(actions, [1, 0, 1, 0])
    assert actions.dtype == np.int64
    np.testing.assert_array_equal(agent.act(opening_time_step(states), 0.0), actions)


def test_saved_agent_goes_on_bit_for_bit():
    optimizer = partial(rmsprop.RMSprop, **rmsprop.dialects["deepmind"])

    def new_agent(seed):
        return make_agent(
            LinearQ(random_weight(seed)),
            optimizer,
            target_update_period_updates=3,
            exploration_seed=seed,
        )

    time_step = opening_time_step(np.random.default_rng(0).normal(size=(64, NUM_FEATURES)))
    batches = random_batches(12)
    agent = new_agent(0)
    for batch in batches[:5]:  # stops between two copies of the target network
        agent.learn(batch)
        agent.act(time_step, 0.5)
    buffer = io.BytesIO()
    torch.save(agent.state_dict(), buffer)
    buffer.seek(0)
    other = new_agent(1)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert other.num_updates == 5
    for batch in batches[5:]:
        ours, theirs = agent.learn(batch), other.learn(batch)
        assert ours.loss.item() == theirs.loss.item()
        np.testing.assert_array_equal(agent.act(time_step, 0.5), other.act(time_step, 0.5))
    torch.testing.assert_close(agent.network.weight, other.network.weight, rtol=0, atol=0)
    torch.testing.assert_close(
        agent.target_network.weight, other.target_network.weight, rtol=0, atol=0
    )


def test_state_of_another_network_is_refused():
    agent = make_agent(LinearQ(random_weight()), SGD)
    other = make_agent(LinearQ(np.zeros((2, 2))), SGD, num_actions=2)
    with pytest.raises(RuntimeError, match="size mismatch"):
        other.load_state_dict(agent.state_dict())


def test_bf16_autocast_learns_nearly_what_fp32_does():
    def train(autocast_dtype):
        torch.manual_seed(0)
        networks = [
            q_network(partial(MLP, hidden_sizes=[64]), (NUM_FEATURES,), NUM_ACTIONS)
            for _ in range(2)
        ]
        agent = make_agent(
            networks[0], SGD, target_network=networks[1], autocast_dtype=autocast_dtype
        )
        batches = [
            batch._replace(s_tm1=batch.s_tm1.float(), s_t=batch.s_t.float(), r_t=batch.r_t.float())
            for batch in random_batches(5)
        ]
        losses = [agent.learn(batch).loss.item() for batch in batches]
        return np.array(losses), networks[0]

    losses, network = train(torch.bfloat16)
    fp32_losses, fp32_network = train(None)
    np.testing.assert_allclose(losses, fp32_losses, rtol=0.02)  # bf16 keeps 8 bits: 0.4 % each
    assert (losses != fp32_losses).any(), "autocast did nothing"
    for parameter, fp32_parameter in zip(
        network.parameters(), fp32_network.parameters(), strict=True
    ):
        assert parameter.dtype == torch.float32
        torch.testing.assert_close(parameter, fp32_parameter, rtol=0, atol=0.02)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile uses torch.jit
@pytest.mark.skipif(not can_fuse(), reason="torch.compile needs a C++ compiler")
def test_compiled_updates_are_those_of_the_same_layers():
    def train(compiled):
        torch.manual_seed(0)
        torso = partial(NipsCNN, implementation="torch")
        networks = [q_network(torso, (4, 84, 84), NUM_ACTIONS) for _ in range(2)]
        agent = make_agent(
            networks[0], SGD, target_network=networks[1], double_q_learning=True, compiled=compiled
        )
        generator = torch.Generator().manual_seed(1)
        for batch in random_batches(3, batch_size=4):
            frames = torch.randint(256, (4, 5, 84, 84), dtype=torch.uint8, generator=generator)
            agent.learn(
                batch._replace(s_tm1=frames[:, :-1], s_t=frames[:, 1:], r_t=batch.r_t.float())
            )
        return dict(networks[0].named_parameters())

    compiled, eager = train(True), train(False)
    for name, parameter in eager.items():
        torch.testing.assert_close(compiled[name], parameter, rtol=1e-3, atol=1e-5)
