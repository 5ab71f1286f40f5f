"""Atari protocols: everything around the agent that changes its score, in one frozen value.

Two agents can be compared only under the same protocol. Public code differs in all of these
fields, usually silently; here each is named, each preset cites where its numbers come from, and
each says in ``deviations`` where the emulator's vector environment cannot follow its source.

Sources, by the names used below:

- Nature paper: Mnih et al., "Human-level control through deep reinforcement learning", Nature 518
  (2015), Methods and Extended Data; its code is ``google-deepmind/dqn`` (``run_gpu``,
  ``dqn/train_agent.lua``) on ``google-deepmind/alewrap`` (``alewrap/GameEnvironment.lua``).
- NIPS paper: Mnih et al., "Playing Atari with Deep Reinforcement Learning", arXiv 1312.5602 (2013).
- Machado et al., "Revisiting the Arcade Learning Environment", JAIR 61 (2018), with the numbers of
  ``google/dopamine`` (``jax/agents/dqn/configs/dqn.gin``, ``discrete_domains/atari_lib.py``).
- DQN Zoo: ``google-deepmind/dqn_zoo`` (``dqn/run_atari.py``, ``processors.py``).
- ALE: ``Farama-Foundation/Arcade-Learning-Environment`` (``src/ale/vector/preprocessed_env.cpp``).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from dqn.names import nearest

FRAMES_PER_SECOND = 60  # The Atari 2600 (NTSC) and every time limit below count in these.
_MINUTE = 60 * FRAMES_PER_SECOND


class BehaviourEpsilon(NamedTuple):
    """ε of the ε-greedy training policy: a line from ``begin`` to ``end``, then ``end``."""

    begin: float
    end: float
    decay_agent_steps: int


@dataclass(frozen=True, kw_only=True)
class AtariProtocol:
    """How a game is shown to the agent, how it starts and ends, and how exploration goes.

    The environment obeys all fields up to ``max_frames_per_game_evaluation``. The later ones are
    for the agent: rewards leave the environment unclipped, so that returns are game scores.

    Attributes:
        name: the preset's name, for messages and run directories.
        sources: where the numbers come from.
        frame_skip: emulator frames per agent step; the action is held for all of them. Nature
            paper, Extended Data Table 1 ("action repeat").
        max_pool: whether an observation is the pixelwise maximum of its last two emulator frames,
            against sprites that flicker (Nature paper, Methods). Without it, the last frame alone.
        screen_size: ``(height, width)`` pixels the whole screen is resized to. ALE turns colours
            to grey by its palette and resizes by pixel area; sources that do otherwise are listed
            in ``deviations``.
        stack_size: frames in an observation, the newest last; before a game's first frame the
            stack holds zeros (Nature paper, Extended Data Table 1, "agent history length";
            ``TransitionTable.lua``, ``zeroFrames``).
        noop_max: a game starts with a number of emulator frames without action drawn uniformly
            from ``0..noop_max - 1``; 0 and 1 mean none (ALE). Nature paper, Extended Data Table 1
            ("no-op max").
        fire_on_reset: whether FIRE is pressed once as a game starts, where the game has such an
            action (OpenAI Baselines, ``FireResetEnv``). None of DeepMind's code does.
        life_loss_is_terminal: whether, in training, a lost life ends the return (discount 0). The
            game, its score and its stack of frames go on. Evaluation always ignores lives.
        repeat_action_probability: at every emulator frame, probability that the previous frame's
            action is executed instead of the chosen one ("sticky actions", Machado et al.).
        full_action_space: all 18 actions of the joystick rather than those the game uses.
        max_frames_per_game_training: emulator frames after which a training game is cut.
            A cut game is truncated, not terminal: its last state still bootstraps.
        max_frames_per_game_evaluation: the same in evaluation.
        max_abs_reward: the agent learns from rewards clipped to ± this. Scores are integers, so 1
            is the sign of the score.
        behaviour_epsilon_begin: ε of the ε-greedy training policy before its decay.
        behaviour_epsilon_end: and after.
        behaviour_epsilon_decay_agent_steps: length of the linear decay.
        evaluation_epsilon: ε of the evaluated policy.
        deviations: where this differs from the sources, one sentence each.

    Raises:
        ValueError: when a field is outside its range, naming the field.
    """

    name: str
    sources: tuple[str, ...]
    frame_skip: int
    max_pool: bool
    screen_size: tuple[int, int]
    stack_size: int
    noop_max: int
    fire_on_reset: bool
    life_loss_is_terminal: bool
    repeat_action_probability: float
    full_action_space: bool
    max_frames_per_game_training: int
    max_frames_per_game_evaluation: int
    max_abs_reward: float
    behaviour_epsilon_begin: float
    behaviour_epsilon_end: float
    behaviour_epsilon_decay_agent_steps: int
    evaluation_epsilon: float
    deviations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in (
            "frame_skip",
            "stack_size",
            "max_frames_per_game_training",
            "max_frames_per_game_evaluation",
        ):
            self._require(field, getattr(self, field) >= 1, "at least 1")
        for field in (
            "repeat_action_probability",
            "behaviour_epsilon_begin",
            "behaviour_epsilon_end",
            "evaluation_epsilon",
        ):
            self._require(field, 0.0 <= getattr(self, field) <= 1.0, "in [0, 1]")
        self._require("screen_size", min(self.screen_size) >= 1, "two positive numbers of pixels")
        self._require("noop_max", self.noop_max >= 0, "at least 0")
        self._require("max_abs_reward", self.max_abs_reward > 0, "positive")
        decay = self.behaviour_epsilon_decay_agent_steps
        self._require("behaviour_epsilon_decay_agent_steps", decay >= 0, "at least 0")

    def _require(self, field: str, is_valid: bool, allowed: str) -> None:
        if not is_valid:
            value = getattr(self, field)
            raise ValueError(f"protocol {self.name}: {field}={value} must be {allowed}")

    @property
    def behaviour_epsilon(self) -> BehaviourEpsilon:
        """ε of the training policy, from the three fields that state it.

        >>> MACHADO.behaviour_epsilon
        BehaviourEpsilon(begin=1.0, end=0.01, decay_agent_steps=250000)
        """
        return BehaviourEpsilon(
            begin=self.behaviour_epsilon_begin,
            end=self.behaviour_epsilon_end,
            decay_agent_steps=self.behaviour_epsilon_decay_agent_steps,
        )

    def max_frames_per_game(self, *, training: bool) -> int:
        """Emulator frames after which a game is cut."""
        if training:
            return self.max_frames_per_game_training
        return self.max_frames_per_game_evaluation


_STARTS_ONE_NOOP_EARLIER = (
    "no-ops are drawn from 0..29, the source's from 1..30: thirty equally likely starts in both"
)
_AREA_RESIZE = (
    "colours become grey by ALE's palette before the maximum over two frames, and the screen is "
    "resized by pixel area; the source takes the maximum in RGB, then luminance 0.299 R + 0.587 G "
    "+ 0.114 B, and resizes bilinearly"
)
_LAST_OBSERVATION = (
    "a game's last observation lacks the frame the game ended or was cut on, which the source "
    "shows; only a cut game's is ever evaluated, to bootstrap from"
)

NATURE = AtariProtocol(
    name="nature",
    sources=(
        "Nature paper, Methods and Extended Data Table 1",
        "google-deepmind/dqn: run_gpu, dqn/train_agent.lua",
        "google-deepmind/alewrap: alewrap/GameEnvironment.lua",
    ),
    frame_skip=4,  # run_gpu: actrep=4
    max_pool=True,  # run_gpu: pool_frms_type="max", pool_frms_size=2
    screen_size=(84, 84),  # dqn/net_downsample_2x_full_y.lua
    stack_size=4,  # run_gpu: hist_len=4
    noop_max=30,  # run_gpu: random_starts=30
    fire_on_reset=False,
    life_loss_is_terminal=True,  # GameEnvironment.lua: step(action, training)
    repeat_action_probability=0.0,
    full_action_space=False,  # alewrap.cc: getMinimalActionSet
    max_frames_per_game_training=30 * _MINUTE,
    max_frames_per_game_evaluation=5 * _MINUTE,  # Methods: "up to 5 min each time"
    max_abs_reward=1.0,  # run_gpu: min_reward=-1, max_reward=1
    behaviour_epsilon_begin=1.0,  # run_gpu: ep=1
    behaviour_epsilon_end=0.1,  # run_gpu: ep_end=0.1
    behaviour_epsilon_decay_agent_steps=1_000_000,  # run_gpu: eps_endt=replay_memory
    evaluation_epsilon=0.05,  # train_agent.lua: agent:perceive(..., true, 0.05)
    deviations=(
        _STARTS_ONE_NOOP_EARLIER,
        "a lost life only sets the discount to 0; alewrap also cuts the frame skip short there, "
        "plays 1..30 no-ops before it goes on, and its agent blanks the frames from before",
        "a game's first observation is one frame; alewrap pools the last two no-op frames",
        _AREA_RESIZE,
        _LAST_OBSERVATION,
        "training games are cut after 30 minutes; alewrap never cuts them",
    ),
)

DQN_ZOO = AtariProtocol(
    name="dqn_zoo",
    sources=(
        "google-deepmind/dqn_zoo: dqn_zoo/dqn/run_atari.py, dqn_zoo/processors.py",
        "google-deepmind/dqn_zoo: dqn_zoo/gym_atari.py",
    ),
    frame_skip=4,  # num_action_repeats
    max_pool=True,  # num_pooled_frames=2
    screen_size=(84, 84),  # environment_height, environment_width
    stack_size=4,  # num_stacked_frames
    noop_max=30,  # RandomNoopsEnvironmentWrapper(min_noop_steps=1, max_noop_steps=30)
    fire_on_reset=False,
    life_loss_is_terminal=True,  # zero_discount_on_life_loss=True
    repeat_action_probability=0.0,  # gym_atari.py
    full_action_space=False,  # gym_atari.py
    max_frames_per_game_training=30 * _MINUTE,  # max_frames_per_episode=108000
    max_frames_per_game_evaluation=30 * _MINUTE,
    max_abs_reward=1.0,
    behaviour_epsilon_begin=1.0,  # exploration_epsilon_begin_value
    behaviour_epsilon_end=0.1,  # exploration_epsilon_end_value
    behaviour_epsilon_decay_agent_steps=1_000_000,  # 0.02 of 200 million frames, / 4
    evaluation_epsilon=0.05,  # eval_exploration_epsilon
    deviations=(
        _STARTS_ONE_NOOP_EARLIER,
        "a game's first three stacks are padded with zeros in front, oldest frame after them; the "
        "source puts the padding behind the frames",
        _AREA_RESIZE,
        _LAST_OBSERVATION,
    ),
)

MACHADO = AtariProtocol(
    name="machado",
    sources=(
        "Machado et al. 2018: sticky actions, whole games, no signal of lost lives",
        "google/dopamine: dopamine/jax/agents/dqn/configs/dqn.gin",
        "google/dopamine: dopamine/discrete_domains/atari_lib.py, run_experiment.py",
    ),
    frame_skip=4,  # AtariPreprocessing.frame_skip
    max_pool=True,  # AtariPreprocessing: "we max-pool over the last two frames, in grayscale"
    screen_size=(84, 84),  # AtariPreprocessing.screen_size
    stack_size=4,  # atari_lib.NATURE_DQN_STACK_SIZE
    noop_max=0,
    fire_on_reset=False,
    life_loss_is_terminal=False,  # AtariPreprocessing.terminal_on_life_loss
    repeat_action_probability=0.25,  # create_atari_environment.sticky_actions
    full_action_space=False,  # create_atari_environment leaves Gymnasium's default
    max_frames_per_game_training=30 * _MINUTE,  # Runner.max_steps_per_episode=27_000
    max_frames_per_game_evaluation=30 * _MINUTE,
    max_abs_reward=1.0,  # run_experiment.Runner: clip_rewards
    behaviour_epsilon_begin=1.0,
    behaviour_epsilon_end=0.01,  # JaxDQNAgent.epsilon_train
    behaviour_epsilon_decay_agent_steps=250_000,  # JaxDQNAgent.epsilon_decay_period
    evaluation_epsilon=0.001,  # JaxDQNAgent.epsilon_eval
    deviations=(_LAST_OBSERVATION,),
)

NIPS = AtariProtocol(
    name="nips",
    sources=("NIPS paper, sections 4.1, 5 and 5.3",),
    frame_skip=4,  # section 5: every fourth frame
    max_pool=False,  # the paper knows no pooling
    screen_size=(84, 84),  # section 4.1
    stack_size=4,  # section 4.1
    noop_max=0,
    fire_on_reset=False,
    life_loss_is_terminal=False,
    repeat_action_probability=0.0,
    full_action_space=False,
    max_frames_per_game_training=30 * _MINUTE,
    max_frames_per_game_evaluation=30 * _MINUTE,
    max_abs_reward=1.0,  # section 5: positive rewards are 1, negative -1
    behaviour_epsilon_begin=1.0,  # section 5
    behaviour_epsilon_end=0.1,
    behaviour_epsilon_decay_agent_steps=1_000_000,
    evaluation_epsilon=0.05,  # section 5.3
    deviations=(
        "the whole screen is squeezed into 84x84; the paper scales it to 110x84 and cuts out 84x84",
        "colours become grey by ALE's palette; the paper does not say how",
        "the paper skips 3 frames in Space Invaders, here 4 as in every game",
        "games are cut after 30 minutes; the paper mentions no limit",
        "ε decays over a million agent steps; the paper says frames without saying which",
    ),
)

PROTOCOLS: Mapping[str, AtariProtocol] = MappingProxyType(
    {protocol.name: protocol for protocol in (NATURE, DQN_ZOO, MACHADO, NIPS)}
)


def get_protocol(name: str) -> AtariProtocol:
    """The preset called ``name``.

    >>> get_protocol("machado").repeat_action_probability
    0.25
    >>> get_protocol("natur")
    Traceback (most recent call last):
    ValueError: env.protocol='natur': no such protocol; did you mean nature? \
(dqn_zoo, machado, nature, nips)

    Raises:
        ValueError: when there is none, naming the nearest and all.
    """
    if name not in PROTOCOLS:
        hint = nearest(name.lower(), PROTOCOLS)
        allowed = ", ".join(sorted(PROTOCOLS))
        raise ValueError(f"env.protocol={name!r}: no such protocol{hint} ({allowed})")
    return PROTOCOLS[name]
