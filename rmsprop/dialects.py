r"""Named settings of RMSprop: what other libraries and papers mean by the word.

>>> import torch
>>> from rmsprop import RMSprop, dialects
>>> theta = torch.nn.Parameter(torch.ones(1))
>>> optimizer = RMSprop([theta], **dialects["tf1"] | {"lr": 3e-4})
>>> optimizer.defaults["eps_inside_sqrt"], optimizer.defaults["initial_square_avg"]
(True, 1.0)

Each entry holds the defaults of its source, learning rate included where the source has one.
q is ``square_avg``, or ``square_avg − grad_avg²`` where centred.

================== ============== ============= ===== ======== ================ =================
name               denominator    ε             v₀    centred  momentum buffer  weight decay
================== ============== ============= ===== ======== ================ =================
torch              √q + ε         1e-8          0     option   lr outside       coupled
torch7             √q + ε         1e-8          0     no       none             coupled
tf1                √(q + ε)       1e-10         1     option   lr inside        none
keras              √(q + ε)       1e-7          0     option   lr inside        decoupled
keras_legacy       √q + ε         1e-7          0     option   see below        none
optax              √(q + ε)       1e-8          0     option   lr inside        none
timm               √(q + ε)       1e-10         1     option   lr inside        coupled
sb3_tf_like        √(q + ε)       1e-8          1     option   lr outside       coupled
lasagne            √(q + ε)       1e-6          0     no       none             none
hinton             √q             none          0     no       none             none
graves             √(q + ε)       1e-4          0     always   lr inside, 0.9   none
deepmind           √(q + ε)       0.01          0     always   none             none
deepmind_mean_loss √(q + ε)       0.01 / 32²    0     always   none             none
deep_q_rl_nips     √(q + ε)       1e-6          0     no       none             none
dopamine           √(q + ε)       1e-5          1     always   none             none
impala             √(q + ε)       0.1           1     no       none             none
================== ============== ============= ===== ======== ================ =================

Traps the table hides:

- ``deepmind``: DQN's code sums the loss over the 32 transitions of a batch. With a loss that is
  averaged, gradients are 32 times smaller, and the same trajectory needs ε / 32²:
  ``deepmind_mean_loss``.
- The "gradient momentum 0.95" in the table of Mnih et al. 2015 is the decay of ``grad_avg``; no
  heavy-ball buffer is used (``deltas:mul(0)`` in the code).
- ``keras_legacy`` (OptimizerV2) adds ε outside the root without momentum only. With momentum it
  calls TensorFlow's kernel: use ``keras`` and set ``momentum``.
- ``hinton`` has no ε, as on the slide: an element whose gradients have all been zero is 0 / 0.
- Starting at v₀ = 1 is an implicit warm-up; starting at 0 makes the first step
  lr / √(1 − α): 4.5 lr at α = 0.95.

Sources, by name:

- torch: ``torch/optim/rmsprop.py`` (2.13). torch7: torch/optim ``rmsprop.lua``.
- tf1: ``tensorflow/python/training/rmsprop.py``, ``core/kernels/training_ops.cc``; lr is required.
- keras: ``keras/src/optimizers/rmsprop.py`` (3.15). keras_legacy:
  ``tf_keras/optimizers/legacy/rmsprop.py`` (2.21).
- optax: ``optax/_src/alias.py`` and ``transform.py`` (0.2.8); the learning rate is required.
- timm: ``timm/optim/rmsprop_tf.py``. sb3_tf_like: Stable-Baselines3
  ``common/sb2_compat/rmsprop_tf_like.py``.
- lasagne: ``lasagne/updates.py``. hinton: Tieleman and Hinton 2012, lecture 6e.
- graves: Graves 2013, arXiv:1308.0850, eq. 38-45; constants as in Chainer's
  ``optimizers/rmsprop_graves.py``.
- deepmind: google-deepmind/dqn, ``dqn/NeuralQLearner.lua`` and ``run_gpu`` (Mnih et al. 2015).
  deepmind_mean_loss: google-deepmind/dqn_zoo, ``dqn_zoo/dqn/run_atari.py``.
- deep_q_rl_nips: spragunr/deep_q_rl, ``deep_q_rl/run_nips.py``, a reconstruction of
  Mnih et al. 2013, whose code is not public.
- dopamine: google/dopamine, ``dopamine/tf/agents/dqn/configs/dqn.gin``.
- impala: google-deepmind/scalable_agent, ``experiment.py`` (Espeholt et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TypedDict


class RMSpropOptions(TypedDict, total=False):
    """Keyword arguments of :class:`rmsprop.RMSprop` that a dialect fixes, explained there.

    >>> dialects["keras"] | RMSpropOptions(lr=3e-4) == {**dialects["keras"], "lr": 3e-4}
    True
    """

    lr: float
    alpha: float
    eps: float
    weight_decay: float
    momentum: float
    centered: bool
    eps_inside_sqrt: bool
    initial_square_avg: float
    lr_in_momentum: bool
    nesterov: bool
    bias_correction: bool
    decoupled_weight_decay: bool


_TORCH_FORM = RMSpropOptions(
    weight_decay=0.0,
    momentum=0.0,
    centered=False,
    eps_inside_sqrt=False,
    initial_square_avg=0.0,
    lr_in_momentum=False,
    nesterov=False,
    bias_correction=False,
    decoupled_weight_decay=False,
)
_TF_FORM = _TORCH_FORM | RMSpropOptions(eps_inside_sqrt=True, lr_in_momentum=True)
_DEEPMIND = _TF_FORM | RMSpropOptions(lr=2.5e-4, alpha=0.95, centered=True)

dialects: Mapping[str, RMSpropOptions] = MappingProxyType(
    {
        "torch": _TORCH_FORM | RMSpropOptions(lr=1e-2, alpha=0.99, eps=1e-8),
        "torch7": _TORCH_FORM | RMSpropOptions(lr=1e-2, alpha=0.99, eps=1e-8),
        "tf1": _TF_FORM | RMSpropOptions(alpha=0.9, eps=1e-10, initial_square_avg=1.0),
        "keras": _TF_FORM
        | RMSpropOptions(lr=1e-3, alpha=0.9, eps=1e-7, decoupled_weight_decay=True),
        "keras_legacy": _TORCH_FORM
        | RMSpropOptions(lr=1e-3, alpha=0.9, eps=1e-7, lr_in_momentum=True),
        "optax": _TF_FORM | RMSpropOptions(alpha=0.9, eps=1e-8),
        "timm": _TF_FORM | RMSpropOptions(lr=1e-2, alpha=0.9, eps=1e-10, initial_square_avg=1.0),
        "sb3_tf_like": _TF_FORM
        | RMSpropOptions(
            lr=1e-2, alpha=0.99, eps=1e-8, initial_square_avg=1.0, lr_in_momentum=False
        ),
        "lasagne": _TF_FORM | RMSpropOptions(lr=1.0, alpha=0.9, eps=1e-6),
        "hinton": _TORCH_FORM | RMSpropOptions(alpha=0.9, eps=0.0),
        "graves": _TF_FORM
        | RMSpropOptions(lr=1e-4, alpha=0.95, eps=1e-4, momentum=0.9, centered=True),
        "deepmind": _DEEPMIND | RMSpropOptions(eps=0.01),
        # Gradients of the mean over 32 transitions are 32 times smaller, their squares 32².
        "deepmind_mean_loss": _DEEPMIND | RMSpropOptions(eps=0.01 / 32**2),
        "deep_q_rl_nips": _TF_FORM | RMSpropOptions(lr=2e-4, alpha=0.99, eps=1e-6),
        "dopamine": _DEEPMIND | RMSpropOptions(eps=1e-5, initial_square_avg=1.0),
        "impala": _TF_FORM | RMSpropOptions(lr=4.8e-4, alpha=0.99, eps=0.1, initial_square_avg=1.0),
    }
)
"""Name of a dialect -> keyword arguments of :class:`rmsprop.RMSprop`; read-only."""
