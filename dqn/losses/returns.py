"""What a transition brought: the return on the way from ``s_tm1`` to ``s_t``."""

import torch


def n_step_return(r_t: torch.Tensor, *, discount: float, reward_clip: float | None) -> torch.Tensor:
    """Discounted sum of the rewards on the way from ``s_tm1`` to ``s_t``, each clipped first.

    ::

        return = sum_i discount^i * clip(r_t[i], -reward_clip, reward_clip)

    Sutton & Barto 2018, "Reinforcement Learning", section 7.1; in DQN, Hessel et al. 2018
    (arXiv:1710.02298), "Multi-step learning", without correction for what the policy has become.

    Args:
        r_t: ``[batch, n_step]`` float, zeros behind the end; or ``[batch]`` for one step.
        discount: of one agent step.
        reward_clip: a positive bound, or None.

    Returns:
        ``[batch]``.

    >>> n_step_return(torch.tensor([[5.0, 1.0, -2.0]]), discount=0.5, reward_clip=1.0)
    tensor([1.2500])
    """
    if reward_clip is not None:
        r_t = r_t.clamp(-reward_clip, reward_clip)
    if r_t.dim() == 1:
        return r_t
    discounts = discount ** torch.arange(r_t.shape[1], device=r_t.device, dtype=r_t.dtype)
    return (r_t * discounts).sum(dim=1)
