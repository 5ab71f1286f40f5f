"""Shared vocabulary of the agent: one agent step's outcome and one batch of transitions.

A leaf: it imports nothing of ours, so nobody loads a heavy module for a type.

Time is in the suffix. An agent in state ``s_tm1`` takes action ``a_tm1``; the environment answers
with reward ``r_t`` and state ``s_t`` (the convention of rlax and DQN Zoo).
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

BoolArray: TypeAlias = npt.NDArray[np.bool_]
FloatArray: TypeAlias = npt.NDArray[np.float32]
IntArray: TypeAlias = npt.NDArray[np.int64]
ObservationArray: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


class TimeStep(NamedTuple):
    """What ``num_envs`` environments answer to one vector of actions.

    The environments restart by themselves one call *after* a game's last observation (Gymnasium's
    ``AutoresetMode.NEXT_STEP``): where ``is_last_t`` was true, the next call ignores that
    environment's action and returns the first observation of a new game with ``is_first_t`` true
    and reward 0. Such a call is no agent step and no transition.

    Attributes:
        observation_t: ``[num_envs, *observation_shape]``, uint8 for Atari, float32 otherwise.
        reward_t: ``[num_envs]`` float32, the raw game score of the step, never clipped.
        is_first_t: ``[num_envs]`` bool, ``observation_t`` opens a new game.
        is_terminal_t: ``[num_envs]`` bool, the return ends here: discount 0. True at game over
            and, in training under a protocol that says so, at the loss of a life.
        is_last_t: ``[num_envs]`` bool, the game ended or was cut: the next call resets. A game
            that was cut (truncated) is last without being terminal, and bootstraps.
        episode_return_t: ``[num_envs]`` float32, the score of the whole game where ``is_last_t``,
            NaN elsewhere.
        episode_length_t: ``[num_envs]`` int64, its agent steps where ``is_last_t``, else 0.
    """

    observation_t: ObservationArray
    reward_t: FloatArray
    is_first_t: BoolArray
    is_terminal_t: BoolArray
    is_last_t: BoolArray
    episode_return_t: FloatArray
    episode_length_t: IntArray

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Copies of the fields as tensors, which ``torch.load(weights_only=True)`` reads."""
        return {name: torch.from_numpy(field.copy()) for name, field in self._asdict().items()}

    @classmethod
    def from_state_dict(cls, state: dict[str, torch.Tensor]) -> "TimeStep":
        """The time step that ``state_dict`` was made of."""
        return cls(**{name: field.numpy() for name, field in state.items()})


class Batch(NamedTuple):
    """Transitions sampled from replay, all on one device.

    Attributes:
        s_tm1: ``[batch, *observation_shape]`` states, uint8 for Atari, float32 otherwise.
        a_tm1: ``[batch]`` int64 actions.
        r_t: ``[batch]`` float32 raw rewards; the agent clips. With n-step returns
            ``[batch, n_step]``, those of the steps on the way to ``s_t``, then zeros.
        is_terminal_t: ``[batch]`` bool, True where the return ends on the way (discount 0).
        s_t: ``[batch, *observation_shape]`` successor states.
        num_steps: ``[batch]`` int64, agent steps from ``s_tm1`` to ``s_t``: 1, or with n-step
            returns up to ``n_step``, fewer where the game ended or was cut first.
        weights: ``[batch]`` float32, what each transition's loss is multiplied by; None where
            every one counts once, as in uniform replay.
        slots: ``[batch]`` int64 on the CPU, where the replay keeps the transitions: what its
            priorities are updated by.
    """

    s_tm1: torch.Tensor
    a_tm1: torch.Tensor
    r_t: torch.Tensor
    is_terminal_t: torch.Tensor
    s_t: torch.Tensor
    num_steps: torch.Tensor
    weights: torch.Tensor | None = None
    slots: torch.Tensor | None = None
