r"""What constants of different optimizers have in common, and how to convert one into another.

Two settings can be compared only when their steps are of one size, and published "reproductions"
of one RMSprop differ by 0.03 to 20 times in it: through ε inside or outside the root, losses that
are summed or averaged, and a momentum that its source never had. Two numbers say what a setting
does to a gradient whose recent root mean square is s (its standard deviation where centred), for
gradients of one common scale, of which the optimizer receives c times as much::

    inside:   Δθ = −lr/(1−μ) · c g / √((c s)² + ε)      K = lr c / (√ε (1−μ))     s* = √ε / c
    outside:  Δθ = −lr/(1−μ) · c g / (c s + ε)          K = lr c / (ε (1−μ))      s* = ε / c

K is the step for a unit of gradient where s is small (ε dominates: plain gradient descent), s* the
crossover where damping by ε ends, and K s* = lr/(1−μ) the length of a step where s is large. c is 1
for a loss that is summed over the batch and 1/batch_size for its mean, when the common scale is the
sum's. So a setting is converted by reading K and s* and solving for lr and ε.

================== ===================================== ==========================================
rule               K and s*                              what a match is
================== ===================================== ==========================================
RMSprop            as above                              exact for the same placement of ε, at every
                                                         s; between inside and outside only where s
                                                         is far from s*: at s* inside is √2 larger
Adam               as outside with μ = 0 (β₁ averages    for s as for RMSprop outside; β₁ and β₂
                   gradients, its long-run gain is 1)    keep their own memories
Adagrad            s grows to s √t: after t updates      at one number of updates only: before it
                   K(t) s*(t) = lr/√t, s*(t) = ε/(c √t)  steps are larger, after it smaller
SGD, momentum      K = lr c / (1−μ), s* = ∞              K alone: where s > s* of the other, no
                                                         constant gives both the same step
================== ===================================== ==========================================

What no conversion reaches: the memory 1/(1−α); the first steps, which v₀ decides (it is a square of
gradients and is rescaled with them); and centring, whose s leaves out the mean of the gradients:
the two agree where gradients are mostly noise, and for steady gradients the centred step stays K g.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rmsprop.dialects import RMSpropOptions

Rule: TypeAlias = Literal["rmsprop", "adam", "adagrad", "sgd"]


@dataclass(frozen=True)
class StepSize:
    """How long an optimizer's steps are, in the long run.

    Attributes:
        small_gradient_rate: K, the step per unit of gradient as s → 0.
        crossover: s*, where damping by ε ends; infinite for SGD.
    """

    small_gradient_rate: float
    crossover: float

    @property
    def large_gradient_step(self) -> float:
        """K s*: the step of a gradient g = s as s → ∞."""
        return self.small_gradient_rate * self.crossover

    def rate(self, s: float, *, eps_inside_sqrt: bool) -> float:
        """Step per unit of gradient at root mean square ``s``.

        >>> lua = StepSize(small_gradient_rate=2.5e-3, crossover=0.1)
        >>> round(lua.rate(0.1, eps_inside_sqrt=True) / lua.rate(0.1, eps_inside_sqrt=False), 4)
        1.4142
        """
        relative = s / self.crossover
        damping = math.hypot(1.0, relative) if eps_inside_sqrt else 1.0 + relative
        return self.small_gradient_rate / damping


def gradient_scale(reduction: Literal["sum", "mean"], batch_size: int) -> float:
    """c: the gradient of a loss reduced over a batch, in units of the sum's.

    >>> gradient_scale("sum", 32), gradient_scale("mean", 32)
    (1.0, 0.03125)
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction={reduction!r} must be 'sum' or 'mean'")
    return 1.0 if reduction == "sum" else 1.0 / batch_size


def effective_step_size(
    rule: Rule,
    *,
    lr: float,
    eps: float = 0.0,
    momentum: float = 0.0,
    eps_inside_sqrt: bool = False,
    scale: float = 1.0,
    num_updates: int | None = None,
) -> StepSize:
    """K and s* of an optimizer's constants, by the equations of this module.

    Args:
        rule: which equations.
        lr: η.
        eps: ε; not used by ``"sgd"``.
        momentum: heavy-ball μ of ``"rmsprop"`` and ``"sgd"``.
        eps_inside_sqrt: whether ε is added to the square rather than to the root.
        scale: c, see ``gradient_scale``.
        num_updates: t of ``"adagrad"``, whose step sizes fall.

    Raises:
        ValueError: a constant is out of range, or ε is 0, with which K is infinite.

    >>> deepmind = effective_step_size("rmsprop", lr=2.5e-4, eps=0.01, eps_inside_sqrt=True)
    >>> deepmind
    StepSize(small_gradient_rate=0.0025, crossover=0.1)

    The naive port, whose loss is averaged and whose ε stands outside the root:

    >>> naive = effective_step_size("rmsprop", lr=2.5e-4, eps=0.01, scale=1 / 32)
    >>> round(naive.small_gradient_rate / deepmind.small_gradient_rate, 2)
    0.31
    """
    gain = _gain(rule, momentum)
    _check_positive(lr=lr, scale=scale)
    if rule == "sgd":
        return StepSize(small_gradient_rate=lr * scale * gain, crossover=math.inf)
    if not eps > 0:
        raise ValueError(f"eps={eps} must be positive: without ε small gradients have no damping")
    root_of_updates = _root_of_updates(rule, num_updates)
    damping = (math.sqrt(eps) if eps_inside_sqrt else eps) / root_of_updates
    return StepSize(
        small_gradient_rate=lr / root_of_updates * scale * gain / damping,
        crossover=damping / scale,
    )


def matching_constants(
    step_size: StepSize,
    rule: Rule,
    *,
    momentum: float = 0.0,
    eps_inside_sqrt: bool = False,
    scale: float = 1.0,
    num_updates: int | None = None,
) -> dict[str, float]:
    """``lr``, and ``eps`` where the rule has one, that give ``rule`` this step size.

    Args as in ``effective_step_size``, of which this is the inverse.

    Raises:
        ValueError: no constants match: an adaptive rule has a crossover and SGD has none.

    >>> lua = StepSize(small_gradient_rate=2.5e-3, crossover=0.1)
    >>> matching_constants(lua, "adam") == {"lr": 2.5e-4, "eps": 0.1}
    True
    >>> matching_constants(lua, "sgd", momentum=0.9)["lr"]  # K alone
    0.00025
    """
    gain = _gain(rule, momentum)
    _check_positive(scale=scale)
    if rule == "sgd":
        return {"lr": _tidy(step_size.small_gradient_rate / (scale * gain))}
    if not math.isfinite(step_size.crossover):
        raise ValueError(
            f"no {rule} matches a step size without a crossover (that of SGD): choose one"
        )
    root_of_updates = _root_of_updates(rule, num_updates)
    damping = step_size.crossover * scale * root_of_updates
    return {
        "lr": _tidy(step_size.large_gradient_step / gain * root_of_updates),
        "eps": _tidy(damping**2 if eps_inside_sqrt else damping),
    }


def convert_rmsprop(
    options: RMSpropOptions,
    form: RMSpropOptions,
    *,
    scale: float = 1.0,
    form_scale: float = 1.0,
) -> RMSpropOptions:
    """Constants of one dialect of RMSprop, converted to the same step size in another.

    Args:
        options: the setting to convert, with ``lr`` and ``eps``.
        form: the dialect to express it in; its ``eps_inside_sqrt``, ``momentum`` and the flags
            without effect on the step size are kept, its ``lr`` and ``eps`` are replaced. Keys it
            does not hold are those of ``options``.
        scale: c of the gradients that ``options`` was made for.
        form_scale: c of the gradients that the result is for.

    Returns:
        ``options | form`` with ``lr``, ``eps`` and ``initial_square_avg`` converted. With the same
        placement of ε and the same momentum, both settings make the same steps.

    DQN Zoo's constants for a mean over 32, from DeepMind's for a sum:

    >>> from rmsprop import dialects
    >>> convert_rmsprop(dialects["deepmind"], {}, form_scale=1 / 32)["eps"] == 0.01 / 32**2
    True
    """
    step_size = effective_step_size(
        "rmsprop",
        lr=options["lr"],
        eps=options["eps"],
        momentum=options.get("momentum", 0.0),
        eps_inside_sqrt=options.get("eps_inside_sqrt", False),
        scale=scale,
    )
    converted = options | form
    constants = matching_constants(
        step_size,
        "rmsprop",
        momentum=converted.get("momentum", 0.0),
        eps_inside_sqrt=converted.get("eps_inside_sqrt", False),
        scale=form_scale,
    )
    # v is a square of gradients. A dialect that names its own v₀ names it for its own gradients.
    v0 = converted.get("initial_square_avg", 0.0)
    if "initial_square_avg" not in form:
        v0 *= (form_scale / scale) ** 2
    return converted | RMSpropOptions(
        lr=constants["lr"], eps=constants["eps"], initial_square_avg=v0
    )


def _gain(rule: Rule, momentum: float) -> float:
    """What a steady gradient is multiplied by in the long run."""
    if rule not in ("rmsprop", "adam", "adagrad", "sgd"):
        raise ValueError(f"rule={rule!r} must be 'rmsprop', 'adam', 'adagrad' or 'sgd'")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum={momentum} must be in [0, 1)")
    if momentum and rule in ("adam", "adagrad"):
        raise ValueError(f"momentum={momentum}: {rule} has no heavy-ball momentum")
    return 1.0 / (1.0 - momentum)


def _root_of_updates(rule: Rule, num_updates: int | None) -> float:
    """√t for Adagrad, whose sum grows with every update; 1 for a rule that forgets."""
    if rule != "adagrad":
        return 1.0
    if num_updates is None or num_updates < 1:
        raise ValueError(
            f"num_updates={num_updates}: Adagrad's steps shrink, say after how many updates "
            "they are to match"
        )
    return math.sqrt(num_updates)


def _check_positive(**constants: float) -> None:
    for name, value in constants.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}={value} must be positive")


def _tidy(value: float) -> float:
    """``value`` rounded to 12 digits, which drops the error of a root and its square."""
    return float(f"{value:.12g}")
