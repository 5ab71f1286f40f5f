"""Kinds of environments: what one can be asked before, and without, building it.

A kind is one value of ``KINDS``. Whoever needs an environment, or a number that depends on which
one it is, asks the kind; nobody else compares its name. Another kind is one subclass of
``VectorEnvironment`` and one entry here.

>>> spec = EnvironmentSpec(kind="atari", game="pong", protocol="machado")
>>> KINDS[spec.kind].evaluation_epsilon(spec)
0.001
>>> spec = EnvironmentSpec(kind="control", game="cartpole", id="CartPole-v1")
>>> KINDS[spec.kind].check(spec)
>>> environment = KINDS[spec.kind].build(spec, num_envs=2, seed=0, training=True)
>>> environment.reset().observation_t.shape
(2, 4)
>>> environment.close()
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

from dqn.environments.atari import AtariEnvironment
from dqn.environments.base import VectorEnvironment
from dqn.environments.control import ControlEnvironment, check_control_task
from dqn.environments.games import check_game
from dqn.environments.minatar import (
    MinAtarEnvironment,
    MinAtarProtocol,
    check_minatar_game,
    get_minatar_protocol,
)
from dqn.environments.protocols import AtariProtocol, BehaviourEpsilon, get_protocol


@dataclass(frozen=True, kw_only=True)
class EnvironmentSpec:
    """Which environment is meant, in plain values.

    Attributes:
        kind: a key of ``KINDS``.
        game: its name in run directories and tables; ALE's and MinAtar's own name of the game.
        protocol: name of the protocol it is played under; None where the kind has none.
        id: Gymnasium's id of a control task; None for other kinds.
        num_threads: emulator threads of Atari, 0 for as many as it finds useful; other kinds step
            in the calling thread.
    """

    kind: str
    game: str
    protocol: str | None = None
    id: str | None = None
    num_threads: int = 0


class GameProtocol(Protocol):
    """What a protocol asks of the agent; the environment obeys the rest of it."""

    @property
    def evaluation_epsilon(self) -> float:
        """ε of the evaluated policy."""

    @property
    def max_abs_reward(self) -> float | None:
        """The agent learns from rewards clipped to ± this; None: from the raw ones."""

    @property
    def behaviour_epsilon(self) -> BehaviourEpsilon | None:
        """ε of the training policy; None where the protocol does not say."""


class Builder(Protocol):
    """Builds the environment of a spec that its kind's ``check`` accepts."""

    def __call__(
        self,
        spec: EnvironmentSpec,
        /,
        *,
        num_envs: int,
        seed: int,
        training: bool,
        render_mode: str | None = None,
    ) -> VectorEnvironment:
        """An environment of ``num_envs`` copies; the arguments are ``AtariEnvironment``'s.

        Raises:
            ValueError: an argument is out of range.
            ImportError: a package it needs is not installed, naming it.
        """


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of environment.

    Attributes:
        options: which of a spec's values, beside kind and game, mean something for it.
        check: refuses a spec that cannot be built, by a ValueError that names the nearest name.
        protocol: the protocol of a spec; None where the kind has none. ValueError where it is
            unknown.
        build: the environment of a spec.
        torsos: names of the networks' torsos that can see its observations.
        frames_per_second: agent steps that a film of it shows in a second, to look as fast as it
            does to a person who plays it.
        has_human_scores: whether the tables of human scores on Atari hold for its games.
    """

    options: tuple[str, ...]
    check: Callable[[EnvironmentSpec], None]
    protocol: Callable[[EnvironmentSpec], GameProtocol | None]
    build: Builder
    torsos: tuple[str, ...]
    frames_per_second: float
    has_human_scores: bool

    def evaluation_epsilon(self, spec: EnvironmentSpec) -> float:
        """ε of the evaluated policy: the protocol's, or 0 (greedy) without one."""
        protocol = self.protocol(spec)
        return 0.0 if protocol is None else protocol.evaluation_epsilon

    def max_abs_reward(self, spec: EnvironmentSpec) -> float | None:
        """The agent learns from rewards clipped to ± this; None: from the raw ones."""
        protocol = self.protocol(spec)
        return None if protocol is None else protocol.max_abs_reward

    def behaviour_epsilon(self, spec: EnvironmentSpec) -> BehaviourEpsilon | None:
        """ε of the training policy, ``(begin, end, decay_agent_steps)``; None where none is said.

        >>> spec = EnvironmentSpec(kind="atari", game="pong", protocol="nature")
        >>> tuple(KINDS["atari"].behaviour_epsilon(spec))
        (1.0, 0.1, 1000000)
        """
        protocol = self.protocol(spec)
        return None if protocol is None else protocol.behaviour_epsilon


def _atari_protocol(spec: EnvironmentSpec) -> AtariProtocol:
    if spec.protocol is None:
        raise ValueError("env.protocol=null: an Atari game needs one, such as nature or machado")
    return get_protocol(spec.protocol)


def _check_atari(spec: EnvironmentSpec) -> None:
    _atari_protocol(spec)
    check_game(spec.game)


def _build_atari(
    spec: EnvironmentSpec,
    /,
    *,
    num_envs: int,
    seed: int,
    training: bool,
    render_mode: str | None = None,
) -> AtariEnvironment:
    return AtariEnvironment(
        spec.game,
        protocol=_atari_protocol(spec),
        num_envs=num_envs,
        seed=seed,
        training=training,
        num_threads=spec.num_threads,
        render_mode=render_mode,
    )


def _minatar_protocol(spec: EnvironmentSpec) -> MinAtarProtocol:
    if spec.protocol is None:
        raise ValueError("env.protocol=null: MinAtar needs one, minatar_v0 or minatar_v1")
    return get_minatar_protocol(spec.protocol)


def _check_minatar(spec: EnvironmentSpec) -> None:
    _minatar_protocol(spec)
    check_minatar_game(spec.game)


def _build_minatar(
    spec: EnvironmentSpec,
    /,
    *,
    num_envs: int,
    seed: int,
    training: bool,
    render_mode: str | None = None,
) -> MinAtarEnvironment:
    return MinAtarEnvironment(
        spec.game,
        protocol=_minatar_protocol(spec),
        num_envs=num_envs,
        seed=seed,
        render_mode=render_mode,
    )


def _check_control(spec: EnvironmentSpec) -> None:
    check_control_task(spec.id, name=spec.game)


def _build_control(
    spec: EnvironmentSpec,
    /,
    *,
    num_envs: int,
    seed: int,
    training: bool,
    render_mode: str | None = None,
) -> ControlEnvironment:
    return ControlEnvironment(str(spec.id), num_envs=num_envs, seed=seed, render_mode=render_mode)


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "atari": Kind(
            options=("protocol", "num_threads"),
            check=_check_atari,
            protocol=_atari_protocol,
            build=_build_atari,
            torsos=("nature_cnn", "nips_cnn"),
            frames_per_second=15.0,  # The console shows 60 frames a second, the agent every fourth.
            has_human_scores=True,
        ),
        "minatar": Kind(
            options=("protocol",),
            check=_check_minatar,
            protocol=_minatar_protocol,
            build=_build_minatar,
            torsos=("minatar_cnn",),
            frames_per_second=15.0,  # The games are Atari's, an agent step as long.
            has_human_scores=False,
        ),
        "control": Kind(
            options=("id",),
            check=_check_control,
            protocol=lambda spec: None,
            build=_build_control,
            torsos=("mlp",),
            frames_per_second=50.0,  # A step of CartPole is 0.02 s.
            has_human_scores=False,
        ),
    }
)
