"""Torsos: maps from observations to features.

Weights and biases start uniform in ``±1/sqrt(fan_in)``, as in Lua Torch, where the Nature agent
was written, and as PyTorch's layers still do by default.
"""

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal, TypeAlias, cast

import torch
from torch import nn

from dqn.networks.native import NativeTorso, TorsoShape, is_profitable, unavailable_reason

ObservationShape: TypeAlias = Sequence[int]
Implementation: TypeAlias = Literal["auto", "native", "torch"]


class Torso(nn.Module):
    """A map from observations ``[batch, *observation_shape]`` to ``[batch, num_features]``.

    Attributes:
        num_features: width of the output.
    """

    num_features: int


def _check_screens(name: str, observation_shape: ObservationShape, side: int) -> None:
    """Refuses what is no stack of square screens of this side."""
    if len(observation_shape) != 3 or tuple(observation_shape[1:]) != (side, side):
        raise ValueError(
            f"network={name} needs image observations [stack, {side}, {side}], "
            f"this environment gives {list(observation_shape)}: use network=mlp"
        )


class ScreenCNN(Torso):
    """Convolutions and a hidden layer on stacks of square screens: what three papers share.

    ::

        x / pixel_max -> convolutions, no padding -> flatten -> linear     a ReLU after each

    Args:
        observation_shape: ``(stack, side, side)``; observations are uint8 and scaled inside.
        name: of the network, for messages.
        side: of the screens.
        pixel_max: what is scaled to 1.
        filters: of each convolution.
        kernels: and the side of its kernel.
        strides: and its stride.
        num_features: width of the hidden layer.
        implementation: ``"torch"`` for PyTorch's layers; ``"native"`` for the C++ wherever it can
            take the observations (on the CPU, and in bfloat16 under autocast only where
            the processor multiplies in it); ``"auto"`` for native where it is known to be faster.
            The parameters are the same.

    Raises:
        ValueError: the observations are no stack of such screens, or there is no native
            implementation on this machine.
    """

    def __init__(
        self,
        observation_shape: ObservationShape,
        *,
        name: str,
        side: int = 84,
        pixel_max: float = 255.0,
        filters: Sequence[int],
        kernels: Sequence[int],
        strides: Sequence[int],
        num_features: int,
        implementation: Implementation,
    ) -> None:
        super().__init__()
        _check_screens(name, observation_shape, side)
        self.num_features = num_features
        self.pixel_max = pixel_max
        self.layers = nn.Sequential()
        shape = TorsoShape(
            *(observation_shape[0], side, pixel_max),
            *(tuple(filters), tuple(kernels), tuple(strides)),
            num_features,
        )
        channels = observation_shape[0]
        for number, layer in enumerate(zip(filters, kernels, strides, strict=True), start=1):
            num_filters, kernel, stride = layer
            self.layers.add_module(
                f"conv{number}", nn.Conv2d(channels, num_filters, kernel_size=kernel, stride=stride)
            )
            self.layers.add_module(f"relu{number}", nn.ReLU())
            channels, side = num_filters, (side - kernel) // stride + 1
        self.layers.add_module("flatten", nn.Flatten())
        self.layers.add_module("linear", nn.Linear(channels * side * side, num_features))
        self.layers.add_module(f"relu{len(filters) + 1}", nn.ReLU())
        # Those with weight and bias, in order; a tuple, so that no layer is registered twice.
        self._weighted = tuple(
            layer for layer in self.layers if isinstance(layer, nn.Conv2d | nn.Linear)
        )
        self._native: NativeTorso | None = None
        if implementation == "native" and (reason := unavailable_reason()) is not None:
            raise ValueError(f"network.torso.implementation=native: {reason}; use auto or torch")
        if implementation == "native" or (implementation == "auto" and is_profitable()):
            self._native = NativeTorso(shape)

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Features ``[batch, num_features]`` of uint8 screens ``[batch, stack, side, side]``."""
        bfloat16 = (
            torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        )
        if self._native is not None:
            # As self.parameters(), which walks through all modules at every call.
            parameters = cast(
                "list[torch.Tensor]",
                [p for layer in self._weighted for p in (layer.weight, layer.bias)],
            )
            if self._native.supports(observation, parameters, bfloat16=bfloat16):
                return self._native(observation, parameters, bfloat16=bfloat16)
        features: torch.Tensor = self.layers(observation / self.pixel_max)
        return features


class NatureCNN(ScreenCNN):
    """The three convolutions and the hidden layer of the Nature agent.

    ::

        x / 255 -> conv 32, 8x8, stride 4 -> conv 64, 4x4, stride 2 -> conv 64, 3x3, stride 1
                -> flatten 3136 -> linear 512                   ReLU after each, no padding

    Mnih et al. 2015, "Human-level control through deep reinforcement learning", Nature 518,
    Methods, "Model architecture".

    Args:
        observation_shape: as in ``ScreenCNN``.
        implementation: as in ``ScreenCNN``.

    Raises:
        ValueError: as ``ScreenCNN``.

    >>> NatureCNN((4, 84, 84))(torch.zeros(2, 4, 84, 84, dtype=torch.uint8)).shape
    torch.Size([2, 512])
    """

    def __init__(
        self, observation_shape: ObservationShape, *, implementation: Implementation = "auto"
    ) -> None:
        super().__init__(
            observation_shape,
            name="nature_cnn",
            filters=(32, 64, 64),  # 32 x 20 x 20, 64 x 9 x 9, 64 x 7 x 7
            kernels=(8, 4, 3),
            strides=(4, 2, 1),
            num_features=512,
            implementation=implementation,
        )


class NipsCNN(ScreenCNN):
    """The two convolutions and the hidden layer of the first deep Q-network.

    ::

        x / 255 -> conv 16, 8x8, stride 4 -> conv 32, 4x4, stride 2
                -> flatten 2592 -> linear 256                   ReLU after each, no padding

    Mnih et al. 2013, "Playing Atari with Deep Reinforcement Learning" (arXiv:1312.5602),
    section 4.1.

    Args:
        observation_shape: as in ``ScreenCNN``.
        implementation: as in ``ScreenCNN``.

    Raises:
        ValueError: as ``ScreenCNN``.

    >>> NipsCNN((4, 84, 84))(torch.zeros(2, 4, 84, 84, dtype=torch.uint8)).shape
    torch.Size([2, 256])
    """

    def __init__(
        self, observation_shape: ObservationShape, *, implementation: Implementation = "auto"
    ) -> None:
        super().__init__(
            observation_shape,
            name="nips_cnn",
            filters=(16, 32),  # 16 x 20 x 20, 32 x 9 x 9
            kernels=(8, 4),
            strides=(4, 2),
            num_features=256,
            implementation=implementation,
        )


class MinAtarCNN(ScreenCNN):
    """The convolution and the hidden layer of MinAtar's deep Q-network.

    ::

        x -> conv 16, 3x3, stride 1 -> flatten 1024 -> linear 128     ReLU after each, no padding

    Young & Tian 2019, "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible
    Reinforcement Learning Experiments" (arXiv:1903.03176), section 3, and kenjyoung/MinAtar,
    ``examples/dqn.py``: a quarter of the Nature network's last convolution and hidden layer.

    Args:
        observation_shape: ``(channels, 10, 10)``; observations are uint8 zeros and ones.
        implementation: as in ``ScreenCNN``.

    Raises:
        ValueError: as ``ScreenCNN``.

    >>> MinAtarCNN((4, 10, 10))(torch.zeros(2, 4, 10, 10, dtype=torch.uint8)).shape
    torch.Size([2, 128])
    """

    def __init__(
        self, observation_shape: ObservationShape, *, implementation: Implementation = "auto"
    ) -> None:
        super().__init__(
            observation_shape,
            name="minatar_cnn",
            side=10,
            pixel_max=1.0,
            filters=(16,),  # 16 x 8 x 8
            kernels=(3,),
            strides=(1,),
            num_features=128,
            implementation=implementation,
        )


class MLP(Torso):
    """Linear layers with ReLU between them, for observations that are vectors.

    Args:
        observation_shape: any; flattened. Observations are float32.
        hidden_sizes: widths of the layers, at least one.
        input_scale: the flattened observation is divided by these, so that all its elements are
            of the order of 1; empty for an observation as it is.

    Raises:
        ValueError: there is no layer or one without units, or the scale does not fit.

    >>> MLP((4,), hidden_sizes=(120, 84))(torch.zeros(2, 4)).shape
    torch.Size([2, 84])
    """

    input_scale: torch.Tensor

    def __init__(
        self,
        observation_shape: ObservationShape,
        *,
        hidden_sizes: Sequence[int],
        input_scale: Sequence[float] = (),
    ) -> None:
        super().__init__()
        num_inputs = math.prod(observation_shape)
        scale = list(input_scale) or [1.0] * num_inputs
        if len(scale) != num_inputs or min(scale) <= 0:
            raise ValueError(
                f"network.torso.input_scale={scale} must be {num_inputs} positive numbers, one for "
                "each element of the observation, or none"
            )
        if len(hidden_sizes) == 0 or min(hidden_sizes) < 1:
            raise ValueError(
                f"network.torso.hidden_sizes={list(hidden_sizes)} must be one or more positive "
                "widths"
            )
        self.num_features = hidden_sizes[-1]
        self.register_buffer(
            "input_scale", torch.tensor(scale).reshape(tuple(observation_shape)), persistent=False
        )
        self.layers = nn.Sequential(OrderedDict(flatten=nn.Flatten()))
        for number, num_outputs in enumerate(hidden_sizes, start=1):
            self.layers.add_module(f"linear{number}", nn.Linear(num_inputs, num_outputs))
            self.layers.add_module(f"relu{number}", nn.ReLU())
            num_inputs = num_outputs

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        """Features ``[batch, hidden_sizes[-1]]`` of ``[batch, *observation_shape]``."""
        features: torch.Tensor = self.layers(observation / self.input_scale)
        return features
