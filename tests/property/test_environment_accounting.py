"""Episode accounting against a list of games."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dqn.environments.accounting import EpisodeAccounting

games = st.lists(  # games of at least one step, each a list of its rewards
    st.lists(st.integers(-1000, 1000), min_size=1, max_size=6), min_size=1, max_size=5
)


@given(st.lists(games, min_size=1, max_size=3))
def test_each_game_is_reported_once_with_its_own_sum_and_length(games_of_envs):
    # Per environment: (reward, is_first, is_last) for every step after the reset.
    streams = []
    for games_of_env in games_of_envs:
        stream = []
        for index, rewards in enumerate(games_of_env):
            if index:
                stream.append((0, True, False))
            stream += [(reward, False, False) for reward in rewards[:-1]]
            stream.append((rewards[-1], False, True))
        streams.append(stream)
    num_steps = max(map(len, streams))
    streams = [stream + [(0, True, False)] * (num_steps - len(stream)) for stream in streams]

    accounting = EpisodeAccounting(len(streams))
    accounting.reset()
    reported = [[] for _ in streams]
    for step in zip(*streams, strict=True):
        reward, is_first, is_last = map(np.array, zip(*step, strict=True))
        episode_return, episode_length = accounting.update(
            reward_t=reward.astype(np.float32), is_first_t=is_first, is_last_t=is_last
        )
        np.testing.assert_array_equal(np.isnan(episode_return), ~is_last)
        np.testing.assert_array_equal(episode_length == 0, ~is_last)
        for env in np.flatnonzero(is_last):
            reported[env].append((episode_return[env], episode_length[env]))
    assert reported == [
        [(sum(rewards), len(rewards)) for rewards in games_of_env] for games_of_env in games_of_envs
    ]
