"""The claims of the studies, on their numbers: hand-worked values, closed forms, naive oracles."""

import math

import against_adagrad
import centered_nan
import convergence
import dialects_diverge
import memory_of_alpha
import one_global_rate
import pytest
import recurrent
import torch
import two_parameters

# two_parameters


def test_two_parameters_repeats_the_worked_example() -> None:
    large, small, large_2, small_2 = two_parameters.run(num_steps=2)
    # v = 0.1 · 10² = 10, then 0.9 · 10 + 0.1 · 10² = 19; the small gradient's is 10⁻⁶ of it.
    assert (large.square_avg, large_2.square_avg) == pytest.approx((10, 19))
    assert (small.square_avg, small_2.square_avg) == pytest.approx((1e-5, 1.9e-5))
    assert large.effective_lr == pytest.approx(0.01 / math.sqrt(10))
    assert small.effective_lr == pytest.approx(0.01 / math.sqrt(1e-5), rel=1e-5)
    assert large.rmsprop_moved == pytest.approx(0.1 / math.sqrt(10))
    assert (large.sgd_moved, small.sgd_moved) == pytest.approx((0.1, 0.0001))


def test_two_parameters_move_equally_far_with_rates_a_thousandfold_apart() -> None:
    steps = two_parameters.run(num_steps=50)
    for large, small in zip(steps[::2], steps[1::2], strict=True):
        assert small.effective_lr / large.effective_lr == pytest.approx(1000, rel=1e-5)
        assert small.rmsprop_moved == pytest.approx(large.rmsprop_moved, rel=1e-5)
        assert large.sgd_moved == pytest.approx(1000 * small.sgd_moved)
        closed_form = 0.01 / (10 * math.sqrt(1 - 0.9**large.step))
        assert large.effective_lr == pytest.approx(closed_form)


# one_global_rate


def test_no_rate_of_sgd_suits_frequent_and_rare_features_but_one_of_rmsprop_does() -> None:
    rows = one_global_rate.table(one_global_rate.run(seeds=[0]))
    larger = {
        name: [r["larger"] for r in rows if r["optimizer"] == name]
        for name in one_global_rate.LEARNING_RATES
    }
    assert min(larger["SGD"]) > 0.4  # of an error that starts at 1
    assert min(larger["RMSprop"]) < 0.04
    assert math.inf in larger["SGD"], "the grid must reach the rates where SGD diverges"


# memory_of_alpha


@pytest.fixture(scope="module")
def memory() -> list[memory_of_alpha.Trace]:
    return memory_of_alpha.run(seeds=[0])


@pytest.mark.parametrize("alpha", [0.99, 0.9])
def test_the_rate_falls_fast_and_rises_slowly(
    memory: list[memory_of_alpha.Trace], alpha: float
) -> None:
    trace = next(t for t in memory if (t.alpha, t.gradients) == (alpha, "constant"))
    # Upwards v = 100 − 99 αᵏ; the rate is within 10 % of its aim when v > 100 / 1.1².
    fall = math.ceil(math.log((100 - 100 / 1.21) / 99) / math.log(alpha))
    # Downwards v = 1 + (v₅₀₀ − 1) αᵏ, until v < 1.1².
    v_500 = 100 - 99 * alpha**500
    rise = math.ceil(math.log(0.21 / (v_500 - 1)) / math.log(alpha))
    assert memory_of_alpha.steps_to_settle(trace, 1000, 0.001) == fall
    assert memory_of_alpha.steps_to_settle(trace, 1500, 0.01) == rise
    assert rise > 3 * fall


def test_after_one_window_v_has_gone_63_percent_of_the_way(
    memory: list[memory_of_alpha.Trace],
) -> None:
    trace = next(t for t in memory if (t.alpha, t.gradients) == (0.99, "constant"))
    v = (memory_of_alpha.LR / trace.effective_lr[1000 + 100 - 1]) ** 2
    assert (v - 1) / 99 == pytest.approx(1 - math.exp(-1), abs=0.005)


def test_a_shorter_memory_is_noisier(memory: list[memory_of_alpha.Trace]) -> None:
    long, middle, short = (memory_of_alpha.spread(t) for t in memory if t.gradients == "noise 0")
    assert long < 1.3 < middle < 3 < short


# against_adagrad


def test_adagrad_stops_and_rmsprop_recovers_though_adagrad_was_ahead() -> None:
    paths = against_adagrad.run(seeds=[0])
    best = {name: against_adagrad.best_rate(paths, name) for name in ("RMSprop", "Adagrad")}

    def distance(name: str, step: int) -> float:
        return against_adagrad.median_distance(paths, name, best[name], step)

    assert distance("Adagrad", 3000) < distance("RMSprop", 3000) < 0.1
    assert distance("RMSprop", 6000) < 0.1
    assert distance("Adagrad", 6000) > 1.9  # 2 is where the target jumped to
    for path in paths:
        if path.optimizer == "Adagrad":  # its sum only grows
            assert path.effective_lr == sorted(path.effective_lr, reverse=True)
    assert 0.99**1375 < 1e-6 < 0.99**1374


# recurrent


def test_our_stacked_lstm_is_torch_nn_lstm() -> None:
    parameters = [recurrent.initial_parameters(seed) for seed in (0, 1)]
    sequences = torch.rand(2, 3, 7, 2)
    stacked = [torch.stack(tensors) for tensors in zip(*parameters, strict=True)]
    outputs = recurrent.lstm(stacked, sequences)
    for own, sequence, output in zip(parameters, sequences, outputs, strict=True):
        into, hidden, bias, out, out_bias = own
        # torch's order is write, keep, candidate, read; ours has the candidate last.
        order = [0, 1, 3, 2]
        reference = torch.nn.LSTM(2, recurrent.HIDDEN_SIZE, batch_first=True)
        with torch.no_grad():
            for target, source in (
                (reference.weight_ih_l0, into),
                (reference.weight_hh_l0, hidden),
                (reference.bias_ih_l0, bias),
                (reference.bias_hh_l0, torch.zeros_like(bias)),
            ):
                chunks = source.chunk(4, dim=-1)
                target.copy_(torch.cat([chunks[i] for i in order], dim=-1).T.view_as(target))
            states, _ = reference(sequence)
            torch.testing.assert_close(output, (states[:, -1] @ out + out_bias).squeeze(-1))


def test_the_adding_problem_marks_one_number_in_either_half() -> None:
    sequences, sums = recurrent.adding_problem(500, 30, torch.Generator().manual_seed(0))
    numbers, marks = sequences.unbind(dim=-1)
    assert (marks[:, :15].sum(dim=1) == 1).all()
    assert (marks[:, 15:].sum(dim=1) == 1).all()
    expected = torch.stack([row[mark == 1].sum() for row, mark in zip(numbers, marks, strict=True)])
    torch.testing.assert_close(sums, expected)
    assert (sums - 1).square().mean().item() == pytest.approx(recurrent.GUESSING, rel=0.15)


def test_networks_trained_at_once_do_not_see_one_another() -> None:
    rates = {"RMSprop": (1e-3, 1e-2)}
    together = recurrent.run([0, 1], num_steps=40, length=4, learning_rates=rates)
    alone = recurrent.run([1], num_steps=40, length=4, learning_rates={"RMSprop": (1e-2,)})
    (twin,) = (c for c in together if (c.lr, c.seed) == (1e-2, 1))
    assert alone[0].mse == pytest.approx(twin.mse, rel=1e-4)


@pytest.mark.slow
def test_rmsprop_learns_to_add_over_30_steps_and_sgd_does_not() -> None:
    rates = {"RMSprop": (1e-2,), "SGD": (3e-2, 3e-1)}
    curves = recurrent.run([0, 1, 2], learning_rates=rates)
    for curve in curves:
        if curve.optimizer == "RMSprop":
            assert curve.final_mse < recurrent.GUESSING / 10
        else:
            assert curve.final_mse > 0.8 * recurrent.GUESSING


# convergence


def test_the_least_cost_is_that_of_the_best_point_of_a_fine_grid() -> None:
    generator = torch.Generator().manual_seed(0)
    slopes = 1 + 9 * torch.rand(7, 2, 3, generator=generator).double()
    targets = torch.randn(7, 2, 3, generator=generator).double()
    targets[..., 0] += 3  # so far out that the best point is on the border
    grid = torch.linspace(-1, 1, 4001, dtype=torch.float64).view(-1, 1, 1, 1)
    costs = (slopes * (grid - targets).abs()).sum(dim=1)  # [grid, 2, 3]
    expected = costs.min(dim=0).values.sum(dim=-1)
    torch.testing.assert_close(convergence.least_cost(slopes, targets), expected, rtol=0, atol=0.05)


def test_rmsprop_with_the_mean_of_all_squares_is_adagrad() -> None:
    regrets = convergence.run_regret(seeds=[0], num_steps=400)
    by_method = {r.method: r for r in regrets if r.steps == 400}
    ours, adagrad = by_method[convergence.GAMMA_1], by_method[convergence.ADAGRAD]
    assert ours.theta == pytest.approx(adagrad.theta, abs=1e-12)
    assert ours.regret == pytest.approx(adagrad.regret, rel=1e-9)
    assert by_method[convergence.CONSTANT_ALPHA].theta != pytest.approx(adagrad.theta, abs=1e-3)


def test_regret_over_root_t_stays_bounded_with_a_falling_rate_only() -> None:
    regrets = convergence.run_regret(seeds=[0, 1, 2], num_steps=3000)
    times = sorted({r.steps for r in regrets})
    early = next(t for t in times if t > 100)
    growth = {
        method: convergence.scaled_regret(regrets, method, 3000)
        / convergence.scaled_regret(regrets, method, early)
        for method in convergence.METHODS
    }
    constant = growth.pop(convergence.CONSTANT_BOTH)
    assert constant > 1.8
    assert all(ratio < 1.2 for ratio in growth.values()), growth


@pytest.mark.parametrize(("large", "alpha"), [(2.5, 0.629), (3, 0.472), (5, 0.237), (10, 0.098)])
def test_the_threshold_of_the_counter_example(large: float, alpha: float) -> None:
    assert convergence.threshold(large) == pytest.approx(alpha, abs=5e-4)


def test_rmsprop_goes_to_the_worst_point_below_the_threshold_and_to_the_best_above() -> None:
    margin = 0.06
    for large in convergence.LARGE_GRADIENTS:
        alphas = [convergence.threshold(large) + side * margin for side in (-1, 1)]
        below, above = (
            ending.theta
            for ending in convergence.run_counter_example(alphas, num_steps=1500)
            if ending.large_gradient == large
        )
        assert above < -0.03 < 0.03 < below


def test_the_published_case_alpha_1_over_1_plus_c_squared_ends_at_the_worst_point() -> None:
    # Reddi, Kale and Kumar 2018, their first example: β₂ = 1 / (1 + C²), here for C = 3 and C = 5.
    endings = convergence.run_counter_example([1 / 10, 1 / 26], num_steps=1500)
    ends = {(e.large_gradient, round(e.alpha, 4)): e.theta for e in endings}
    assert ends[3, 0.1] == ends[5, round(1 / 26, 4)] == 1


# centered_nan


def test_torch_turns_nan_on_steady_gradients_and_ours_does_not() -> None:
    traces = {trace.optimizer: trace for trace in centered_nan.run(seed=0, num_steps=350)}
    first = traces[centered_nan.TORCH_32].first_nan
    assert first is not None
    assert 200 < first < 330  # 261 on x86-64; the last bits decide
    assert traces[centered_nan.TORCH_32].nan_share[-1] > 0.1
    assert traces[centered_nan.OURS].first_nan is None
    assert traces[centered_nan.OURS_INSIDE].first_nan is None


def test_centred_steps_grow_as_the_exact_formula_says_until_eps_bounds_them() -> None:
    traces = {trace.optimizer: trace for trace in centered_nan.run(seed=0, num_steps=150)}
    assert centered_nan.exact_step(1) == pytest.approx(1 / math.sqrt(0.95 * 0.05))
    for step in (1, 10, 100, 150):
        ours = traces[centered_nan.OURS].median_step[step - 1]
        assert ours == pytest.approx(centered_nan.exact_step(step), rel=0.01)
    # |g| / √0.01 with the median |g| of a normal distribution, 0.6745.
    assert traces[centered_nan.OURS_INSIDE].median_step[-1] == pytest.approx(6.745, rel=0.03)


# dialects_diverge


@pytest.fixture(scope="module")
def steps() -> dict[tuple[str, float], dialects_diverge.Steps]:
    return {(s.dialect, s.size): s for s in dialects_diverge.run(seed=0, num_steps=2500)}


def test_without_eps_steps_do_not_depend_on_the_size_of_the_gradients(
    steps: dict[tuple[str, float], dialects_diverge.Steps],
) -> None:
    settled = [steps["hinton", size].settled for size in dialects_diverge.SIZES]
    assert settled == pytest.approx([settled[0]] * len(settled), rel=1e-9)


def test_where_eps_takes_over_the_dialect_is_sgd(
    steps: dict[tuple[str, float], dialects_diverge.Steps],
) -> None:
    # Settled step / η = mean gradient / √ε; the mean of 400 000 gradients is 1 ± 0.002 of its size.
    for name, eps in (("deepmind", 0.01), ("impala", 0.1), ("lasagne", 1e-6)):
        assert steps[name, 1e-5].settled == pytest.approx(1e-5 / math.sqrt(eps), rel=0.01)


def test_centring_and_momentum_lengthen_settled_steps(
    steps: dict[tuple[str, float], dialects_diverge.Steps],
) -> None:
    # Mean = deviation: g over the root mean square is 1 / √2, over the deviation 1.
    assert steps["torch", 1.0].settled == pytest.approx(1 / math.sqrt(2), rel=0.01)
    assert steps["deepmind", 10.0].settled == pytest.approx(1, rel=0.05)
    assert steps["graves", 10.0].settled == pytest.approx(10, rel=0.05)  # 1 / (1 − 0.9)


def test_the_first_step_shows_where_v_starts(
    steps: dict[tuple[str, float], dialects_diverge.Steps],
) -> None:
    first = {name: steps[name, 0.01].mean_step[0] for name in ("torch", "keras", "tf1", "impala")}
    # From v₀ = 0: sign(g) / √(1 − α), so √10 apart; from v₀ = 1: about g / √α.
    assert first["torch"] / first["keras"] == pytest.approx(math.sqrt(10), rel=0.01)
    assert first["tf1"] == pytest.approx(0.01 / math.sqrt(0.9), rel=0.1)


def test_a_falling_rate_reaches_a_buffer_that_holds_it_only_slowly() -> None:
    outside, inside = dialects_diverge.run_drop()
    drop = dialects_diverge.DROP_AT
    assert outside.step_length[:drop] == pytest.approx(inside.step_length[:drop])
    assert outside.step_length[drop] == pytest.approx(outside.step_length[drop - 1] / 100, rel=1e-4)
    # b ← 0.9 b + η g / d, with η g / d a hundred times smaller.
    assert inside.step_length[drop] == pytest.approx(0.9 * inside.step_length[drop - 1] + 0.01)
