"""What the slots of a ring mean: whose game they belong to, and which of them can be sampled.

One column of slots is written per agent step, one slot per environment; along the ring lies time::

    slot           ...  i-1      i       i+1  ...
    frame               x_tm2    x_tm1   x_t         the newest frame of each state
    action, reward      ...      a_tm1, r_t          what was done there, and what it brought
    s_tm1 ends at slot i and s_t at slot i+1 of the same environment

Columns are also counted by age: k = 0 is the oldest one not yet overwritten. In NumPy: a batch
needs some thirty operations on so few values that the time to call each is what counts.
"""

from typing import NamedTuple

import numpy as np

from dqn.types import BoolArray, IntArray


class Steps(NamedTuple):
    """The agent steps that a batch of transitions consists of.

    Attributes:
        slots: ``[batch, n_step]``, along the ring.
        is_taken: ``[batch, n_step]`` bool, False behind a game's end.
        num_steps: ``[batch]`` how many are taken.
        is_terminal: ``[batch]`` bool, whether one of them ended the return.
    """

    slots: IntArray
    is_taken: BoolArray
    num_steps: IntArray
    is_terminal: BoolArray


class RingIndex:
    """Flags of every slot of a ring, and how they decide what can be sampled.

    A slot can be sampled if an agent step was taken there, its successor is already written, and no
    frame of its stack has been overwritten.

    Args:
        num_envs: environments that step together.
        slots: of the ring, per environment.
        stack_size: frames in a state, at most 254: ages are counted up to it, and one on, in uint8.
        n_step: agent steps between the two states of a transition, fewer where the game ends first.

    Example: two agent steps of one game; the second one's successor is not written yet.

    >>> index = RingIndex(num_envs=1, slots=8, stack_size=4, n_step=1)
    >>> yes, no = np.array([True]), np.array([False])
    >>> index.append(is_first=yes, is_transition=yes, is_terminal=no)
    >>> index.append(is_first=no, is_transition=yes, is_terminal=no)
    >>> index.head, index.num_sampleable
    (2, 1)
    """

    def __init__(self, *, num_envs: int, slots: int, stack_size: int, n_step: int) -> None:
        self.num_envs = num_envs
        self.slots = slots
        self.stack_size = stack_size
        self.n_step = n_step
        self.num_appends = 0
        shape = (num_envs, slots)
        self.is_terminal = np.empty(shape, dtype=np.bool_)
        # Whether an agent step was taken in the slot, how many frames of its game came before it,
        # counted up to stack_size.
        self.is_transition = np.zeros(shape, dtype=np.bool_)
        self.age = np.zeros(shape, dtype=np.uint8)
        self._num_transitions = 0
        self._step_offsets = np.arange(n_step)

    @property
    def size(self) -> int:
        """Columns written and not yet overwritten."""
        return min(self.num_appends, self.slots)

    @property
    def head(self) -> int:
        """Slot of the next column."""
        return self.num_appends % self.slots

    @property
    def num_columns(self) -> int:
        """Columns whose successor, ``n_step`` columns on, is written: the oldest ones."""
        return max(self.size - self.n_step, 0)

    @property
    def num_sampleable(self) -> int:
        """Number of transitions that can be sampled now."""
        num_columns = self.num_columns
        if num_columns == 0:
            return 0
        newest = self.slot(np.arange(num_columns, self.size))
        num_without_successor = int(self.is_transition[:, newest].sum())
        k = np.arange(min(self.stack_size - 1, num_columns))
        slot = self.slot(k)
        is_cut = self.is_transition[:, slot] & (self.age[:, slot] > k)
        return self._num_transitions - num_without_successor - int(is_cut.sum())

    @property
    def can_be_sampled(self) -> bool:
        """Whether ``num_sampleable`` is positive, without the counting for all but a few."""
        num_hidden = self.num_envs * (self.n_step + self.stack_size - 1)  # By the ring's ends.
        return self._num_transitions > num_hidden or self.num_sampleable > 0

    def append(
        self, *, is_first: BoolArray, is_transition: BoolArray, is_terminal: BoolArray
    ) -> None:
        """Count the column at ``head``; each is ``[num_envs]``, as in the ring's ``append``."""
        head, newest = self.head, (self.num_appends - 1) % self.slots
        self._num_transitions -= int((self.is_transition[:, newest] & is_first).sum())
        self.is_transition[:, newest] &= ~is_first
        self._num_transitions += int(is_transition.sum()) - int(self.is_transition[:, head].sum())
        self.is_transition[:, head] = is_transition
        age = np.minimum(self.age[:, newest] + 1, self.stack_size)
        self.age[:, head] = np.where(is_first, 0, age)
        self.is_terminal[:, head] = is_terminal
        self.num_appends += 1

    def slot(self, k: IntArray) -> IntArray:
        """Slot of the k-th oldest column."""
        return (k + (self.num_appends - self.size)) % self.slots

    def is_sampleable(self, env: IntArray, k: IntArray) -> BoolArray:
        """Whether k's agent step is a transition whose stack lies in the ring, k < num_columns."""
        slot = self.slot(k)
        num_earlier_frames = np.minimum(self.age[env, slot], self.stack_size - 1)
        return self.is_transition[env, slot] & (num_earlier_frames <= k)

    def steps(self, env: IntArray, k: IntArray) -> Steps:
        """The agent steps of the transitions at column ``k`` ``[batch]`` of ``env`` ``[batch]``."""
        slots = self.slot(k[:, None] + self._step_offsets)
        is_transition = self.is_transition[env[:, None], slots]
        is_terminal = self.is_terminal[env[:, None], slots]
        # A step belongs to the transition if it is an agent step and none before ended the return.
        # (What is no agent step is a game's last observation, or one whose outcome was not seen.)
        goes_on = np.logical_and.accumulate(is_transition & ~is_terminal, axis=1)
        is_taken = is_transition
        is_taken[:, 1:] &= goes_on[:, :-1]
        return Steps(slots, is_taken, is_taken.sum(axis=1), np.any(is_terminal & is_taken, axis=1))

    def num_padding(self, env: IntArray, k: IntArray) -> IntArray:
        """``[batch]``: how many frames of the stack at ``k`` would come before the game's first.

        None do where it is not positive.
        """
        age: IntArray = self.age[env, self.slot(k)].astype(np.int64)
        return (self.stack_size - 1) - age

    def load(
        self,
        *,
        num_appends: int,
        is_terminal: BoolArray,
        is_transition: BoolArray,
        age: IntArray,
    ) -> None:
        """Take over the written slots of another index of the same layout."""
        self.num_appends = num_appends
        size = self.size
        self.is_terminal[:, :size] = is_terminal
        self.is_transition[:, size:] = False
        self.is_transition[:, :size] = is_transition
        self.age[:, :size] = age
        self._num_transitions = int(self.is_transition.sum())
