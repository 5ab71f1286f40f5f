"""An independent, naive Atari: ALE's single-game interface, one emulator frame at a time."""

from typing import NamedTuple

import numpy as np
from ale_py import Action, ALEInterface, LoggerMode, roms

ALEInterface.setLoggerMode(LoggerMode.Error)


class OracleStep(NamedTuple):
    """What one agent step did to the game."""

    grey_frames: list[np.ndarray]  # every emulator frame, [height, width]
    rgb_frames: list[np.ndarray]  # the same in colour, [height, width, 3]
    reward: int
    lives: int
    is_over: bool


class AtariOracle:
    """One game; a step holds an action for ``frame_skip`` frames or until the game is over."""

    def __init__(self, game, *, seed, frame_skip=4, repeat_action_probability=0.0):
        self.ale = ALEInterface()
        self.ale.setInt("random_seed", seed)
        self.ale.setFloat("repeat_action_probability", repeat_action_probability)
        self.ale.loadROM(str(roms.get_rom_path(game)))
        self.ale.reset_game()
        self.frame_skip = frame_skip
        self.actions = self.ale.getMinimalActionSet()

    def grey(self):
        return self.ale.getScreenGrayscale().copy()

    def lives(self):
        return self.ale.lives()

    def noops(self, count):
        for _ in range(count):
            self.ale.act(Action.NOOP)

    def step(self, action):
        grey_frames, rgb_frames, reward = [], [], 0
        for _ in range(self.frame_skip):
            reward += self.ale.act(self.actions[action])
            grey_frames.append(self.grey())
            rgb_frames.append(self.ale.getScreenRGB().copy())
            if self.ale.game_over():
                break
        return OracleStep(
            grey_frames, rgb_frames, reward, self.ale.lives(), bool(self.ale.game_over())
        )


def zero_padded_stack(frames, stack_size):
    """The last ``stack_size`` of ``frames``, newest last, zeros where there are none yet."""
    padding = [np.zeros_like(frames[0])] * (stack_size - len(frames))
    return np.stack(padding + frames[-stack_size:])


def resize_by_area(frame, height, width):
    """Each output pixel is the mean of the input rectangle it covers, parts counted by area."""

    def weights(num_in, num_out):
        scale = num_in / num_out
        matrix = np.zeros((num_out, num_in))
        for i in range(num_out):
            for j in range(num_in):
                overlap = min((i + 1) * scale, j + 1) - max(i * scale, j)
                matrix[i, j] = max(overlap, 0.0) / scale
        return matrix

    rows, columns = weights(frame.shape[0], height), weights(frame.shape[1], width)
    return rows @ frame @ columns.T
