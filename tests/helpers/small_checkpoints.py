"""Checkpoints of little, which ask for nothing of ``dqn`` but what writes them."""

import torch

from dqn import checkpoint


def small_state(value=0):
    return {"agent": {"weight": torch.arange(6.0) + value}, "trainer": {"value": value}}


class Store:
    """Stands in for a replay: a ring of ``slots`` columns that forgets as it is written to."""

    def __init__(self, *, num_envs=2, slots=40, frame_shape=(300,)):
        self.num_envs, self.slots, self.frame_shape = num_envs, slots, frame_shape
        self.columns = range(0)
        self.frames = {}

    def append(self, count):
        for column in range(self.columns.stop, self.columns.stop + count):
            generator = torch.Generator().manual_seed(column)
            shape = (self.num_envs, *self.frame_shape)
            self.frames[column] = torch.randint(256, shape, dtype=torch.uint8, generator=generator)
        end = self.columns.stop + count
        self.columns = range(max(0, end - self.slots), end)
        self.frames = {column: self.frames[column] for column in self.columns}

    def read_frames(self, columns):
        if not len(columns):
            return torch.empty((self.num_envs, 0, *self.frame_shape), dtype=torch.uint8)
        return torch.stack([self.frames[column] for column in columns], dim=1)

    def write_frames(self, columns, frames):
        for index, column in enumerate(columns):
            if column in self.columns:
                self.frames[column] = frames[:, index].clone()

    def emptied(self):
        """Sized like this one, as the replay's own state makes it, with nothing in it."""
        other = Store(num_envs=self.num_envs, slots=self.slots, frame_shape=self.frame_shape)
        other.columns = self.columns
        nothing = torch.zeros((self.num_envs, *self.frame_shape), dtype=torch.uint8)
        other.frames = dict.fromkeys(self.columns, nothing)
        return other


def noisy_checkpoint(directory, agent_steps=1):
    """Incompressible: stored as it is, so that only a checksum can tell a flipped bit."""
    store = Store(frame_shape=(20_000,))
    store.append(10)
    generator = torch.Generator().manual_seed(agent_steps)
    state = {"agent": {"weight": torch.randn(50_000, generator=generator)}, "trainer": {"n": 1}}
    return checkpoint.save(directory, agent_steps, state, store)


def flip(file, position, bit=0x10):
    content = bytearray(file.read_bytes())
    content[position] ^= bit
    file.write_bytes(content)
