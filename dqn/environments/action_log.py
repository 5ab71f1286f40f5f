"""What it takes to play the games in progress again: seeds, and the actions since.

ALE's vector environment has no snapshot of its games, but they are deterministic: the same seed and
actions lead to the same pixels. So an environment remembers the seed of each copy and its actions
since, and is restored by playing them. For that to stay short, a copy that has gone far from its
seed gets a new one where its next game opens. A new seed at every game would be too slow: ALE loads
the cartridge anew for it, which takes 70 ms, as long as 300 agent steps.
"""

from collections.abc import Callable
from typing import ClassVar, TypedDict

import numpy as np
import numpy.typing as npt
import torch

from dqn.types import BoolArray, IntArray, ObservationArray, TimeStep

# ALE keeps a seed in a C int, and replaces a negative one by the clock.
MAX_SEED = 2**31 - 1


class ActionLogState(TypedDict):
    """What ``ActionLog.state_dict`` returns; ``torch.load(weights_only=True)`` reads it."""

    num_seedings: torch.Tensor
    length: torch.Tensor
    actions: torch.Tensor


class ActionLog:
    """Seed of each environment, and its actions since it was seeded.

    Args:
        num_envs: environments that step together.
        seed: environment ``i`` begins with ``seed + i``; each later seed is a hash of that number
            and of how many came before.

    Attributes:
        seeding_period_agent_steps: agent steps of a copy after which its next game is seeded anew.
            It costs 0.15 % of a training of 200 steps a second, and a restart plays some 10,000
            steps (20 s of Atari on one core). A process whose games are short may set it lower
            before it trains. A run that goes on under another period gets other seeds.

    >>> log = ActionLog(num_envs=2, seed=7)
    >>> log.seeds()
    array([7, 8])
    >>> log.record(np.array([1, 0]))
    >>> log.state_dict()["actions"]
    tensor([[1],
            [0]], dtype=torch.int16)
    """

    seeding_period_agent_steps: ClassVar[int] = 10_000

    def __init__(self, *, num_envs: int, seed: int) -> None:
        self._num_envs = num_envs
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """All environments are at their first seed."""
        self._num_seedings: IntArray = np.zeros(self._num_envs, dtype=np.int64)
        self._length: IntArray = np.zeros(self._num_envs, dtype=np.int64)
        self._actions: npt.NDArray[np.int16] = np.zeros((self._num_envs, 64), dtype=np.int16)

    def seeds(self) -> IntArray:
        """``[num_envs]`` the seed each environment was seeded with last."""
        return np.array(
            [
                nth_seed(self._seed + env, int(number))
                for env, number in enumerate(self._num_seedings)
            ],
            dtype=np.int64,
        )

    def record(self, actions: IntArray) -> None:
        """Note one action of each environment, also where it is ignored."""
        longest = int(self._length.max())
        if longest == self._actions.shape[1]:
            self._actions = np.pad(self._actions, ((0, 0), (0, longest)))
        self._actions[np.arange(self._num_envs), self._length] = actions
        self._length += 1

    def seed_anew(self, is_first_t: BoolArray) -> BoolArray:
        """Move on to the next seed where a game opens and the log has become long.

        Returns:
            ``[num_envs]``, where the environment has to be reset with its new seed now.
        """
        is_due: BoolArray = is_first_t & (self._length >= self.seeding_period_agent_steps)
        if is_due.any():
            self._num_seedings += is_due
            self._length[is_due] = 0
        return is_due

    def replay(
        self,
        *,
        reset: Callable[[BoolArray, IntArray], ObservationArray],
        step: Callable[[IntArray], ObservationArray],
    ) -> ObservationArray:
        """Play again what is noted, so that all environments arrive together.

        An environment with fewer actions than another plays anything until its turn has come.

        Args:
            reset: resets the environments of a mask with the seeds of those, and returns all
                observations.
            step: steps all environments, and returns all observations.

        Returns:
            The observations arrived at.
        """
        begin = self._length.max() - self._length
        everywhere = np.ones(self._num_envs, dtype=np.bool_)
        observation = reset(everywhere, self.seeds())
        for t in range(int(self._length.max()) + 1):
            opens = (begin == t) & (t > 0)
            if opens.any():
                observation = reset(opens, self.seeds()[opens])
            if t < self._length.max():
                position = np.maximum(t - begin, 0)
                actions = self._actions[np.arange(self._num_envs), position].astype(np.int64)
                observation = step(np.where(t >= begin, actions, 0))
        return observation

    def state_dict(self) -> ActionLogState:
        """Everything ``load_state_dict`` needs."""
        longest = int(self._length.max())
        is_noted = np.arange(longest) < self._length[:, None]
        return {
            "num_seedings": torch.from_numpy(self._num_seedings.copy()),
            "length": torch.from_numpy(self._length.copy()),
            "actions": torch.from_numpy(
                np.where(is_noted, self._actions[:, :longest], np.int16(0))
            ),
        }

    def load_state_dict(self, state: ActionLogState) -> None:
        """Take over ``state``; ValueError where it is of another number of environments."""
        if state["actions"].shape[0] != self._num_envs:
            raise ValueError(
                f"the saved games are of {state['actions'].shape[0]} environments, "
                f"these are {self._num_envs}"
            )
        self._num_seedings = state["num_seedings"].numpy().copy()
        self._length = state["length"].numpy().copy()
        # ``record`` doubles the number of columns, so that there must be one.
        self._actions = np.pad(state["actions"].numpy(), ((0, 0), (0, 1)))


def nth_seed(seed: int, number: int) -> int:
    """``seed`` itself, then seeds that no other environment has but by chance.

    >>> nth_seed(7, 0), nth_seed(7, 1) == nth_seed(8, 1)
    (7, False)
    """
    if number == 0:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) % 2**31


def check_arrived(observation_t: ObservationArray, saved: TimeStep) -> None:
    """Refuse games that were played again and came to something else.

    Raises:
        ValueError: an observation differs from the saved one.
    """
    if not np.array_equal(observation_t, saved.observation_t):
        raise ValueError(
            "the saved games, played again from their seeds and actions, come to other "
            "observations: were they saved with another version of ale-py or Gymnasium?"
        )
