"""An environment whose games are written down beforehand, so that a test knows every answer."""

from typing import NamedTuple

import numpy as np

from dqn.types import TimeStep


class Game(NamedTuple):
    """A game of ``length`` agent steps that scores ``score`` with the last of them."""

    length: int
    score: float
    is_cut: bool = False  # by a time limit: last, but not terminal


class ScriptedEnvironment:
    """Copy ``i`` plays ``games[i]`` over and over, whatever the actions.

    An observation tells where it stands: ``[copy, number of the game, agent steps made in it]``.
    Written against the contract of ``TimeStep`` alone, one copy at a time.
    """

    num_actions = 2
    stack_size = 1

    def __init__(self, games: list[list[Game]]) -> None:
        self.games = games
        self.num_envs = len(games)
        self.actions: list[np.ndarray] = []

    def game(self, env: int) -> Game:
        return self.games[env][self.number[env] % len(self.games[env])]

    def reset(self) -> TimeStep:
        self.number = [0] * self.num_envs
        self.made = [0] * self.num_envs
        return self._time_step([True] * self.num_envs)

    def step(self, actions: np.ndarray) -> TimeStep:
        self.step_async(actions)
        return self.step_wait()

    def step_async(self, actions: np.ndarray) -> None:
        self.actions.append(actions)

    def step_wait(self) -> TimeStep:
        is_first = []
        for env in range(self.num_envs):
            is_over = self.made[env] == self.game(env).length
            is_first.append(is_over)
            if is_over:
                self.number[env] += 1
                self.made[env] = 0
            else:
                self.made[env] += 1
        return self._time_step(is_first)

    def state_dict(self) -> dict[str, list[int]]:
        return {"number": list(self.number), "made": list(self.made)}

    def load_state_dict(self, state: dict[str, list[int]]) -> TimeStep:
        self.number, self.made = list(state["number"]), list(state["made"])
        return self._time_step([made == 0 for made in self.made])

    def close(self) -> None:
        pass

    def _time_step(self, is_first: list[bool]) -> TimeStep:
        games = [self.game(env) for env in range(self.num_envs)]
        is_last = [made == game.length for made, game in zip(self.made, games, strict=True)]
        score = [game.score if last else 0.0 for last, game in zip(is_last, games, strict=True)]
        rows = [[env, self.number[env], self.made[env]] for env in range(self.num_envs)]
        return TimeStep(
            observation_t=np.array(rows, np.float32),
            reward_t=np.array(score, np.float32),
            is_first_t=np.array(is_first),
            is_terminal_t=np.array(
                [last and not game.is_cut for last, game in zip(is_last, games, strict=True)]
            ),
            is_last_t=np.array(is_last),
            episode_return_t=np.where(is_last, score, np.nan).astype(np.float32),
            episode_length_t=np.where(is_last, self.made, 0),
        )
