"""A convolutional torso in C++: one call forward, one call for the gradients of all parameters.

``csrc/torso_cpu.cpp`` says how. Compiled at first use, in about three seconds, and kept, as
``rmsprop.build`` keeps the optimizer's fused step.
"""

import ctypes
import functools
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import increment_version

from rmsprop import get_num_threads
from rmsprop.build import find_or_build

_SOURCE = Path(__file__).parent / "csrc" / "torso_cpu.cpp"
# Products and sums may be fused: nothing here has to repeat another program's rounding. Vectors are
# wider than some processors' registers, which changes how they are passed and matters to nobody.
_FLAGS = ("-ffp-contract=fast", "-Wno-psabi")

# Measured on processors with AVX-512 only, where it is faster than PyTorch's layers.
_PROFITABLE_LANES = 16


class TorsoShape(NamedTuple):
    """The layers of a torso on stacks of square screens.

    Attributes:
        num_frames: screens in a stack, or channels.
        screen_side: their side, a multiple of the first stride.
        pixel_max: what pixels are divided by.
        filters: of each convolution, multiples of 16.
        kernels: sides of the kernels, multiples of the strides.
        strides: of each convolution, the first one 1 or 4.
        num_features: width of the linear layer, a multiple of 16.
    """

    num_frames: int
    screen_side: int
    pixel_max: float
    filters: tuple[int, ...]
    kernels: tuple[int, ...]
    strides: tuple[int, ...]
    num_features: int


class NativeTorso:
    """``x / pixel_max -> convolutions -> flatten -> linear``, a ReLU after each, on the CPU.

    The result equals that of PyTorch's layers up to the order of its sums, and is the same for
    every number of threads (``rmsprop.set_num_threads``). With ``bfloat16`` the operands of all
    products are rounded to bfloat16 and the sums are float32, as under autocast; the features and
    the gradients of the parameters stay float32.

    Args:
        shape: of the layers.

    Raises:
        OSError: it cannot be compiled here, with the reason.

    Example: the Nature network's torso on two stacks of blank screens.

    >>> shape = TorsoShape(4, 84, 255.0, (32, 64, 64), (8, 4, 3), (4, 2, 1), 512)
    >>> sizes = [(32, 4, 8, 8), 32, (64, 32, 4, 4), 64, (64, 64, 3, 3), 64, (512, 3136), 512]
    >>> parameters = [torch.full(size if isinstance(size, tuple) else (size,), 0.5)
    ...               for size in sizes]
    >>> screens = torch.zeros(2, 4, 84, 84, dtype=torch.uint8)
    >>> if unavailable_reason() is None:  # conv1 gives 0.5; conv2 0.5 * 512 * 0.5 + 0.5 = 128.5;
    ...     conv3 = 0.5 * 576 * 128.5 + 0.5
    ...     features = NativeTorso(shape)(screens, parameters, bfloat16=False)
    ...     torch.testing.assert_close(features, torch.full((2, 512), 0.5 * 3136 * conv3 + 0.5))
    """

    def __init__(self, shape: TorsoShape) -> None:
        self.shape = shape
        self._library = _library()
        self._handles: dict[bool, ctypes.c_void_p] = {}
        self._packed: dict[bool, _Identity] = {}
        # Kept from call to call: fresh memory of this size costs a page fault for every 4 KiB.
        self._workspaces: dict[tuple[bool, int, int], list[Tensor]] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> "NativeTorso":
        return NativeTorso(self.shape)

    def supports(
        self, observation: Tensor, parameters: Sequence[Tensor], *, bfloat16: bool
    ) -> bool:
        """Whether uint8 ``[batch, num_frames, side, side]`` and float32 can be taken, on the CPU.

        Batch and frames may be strided (a view of longer stacks); screens must be whole. So must
        the parameters be but for the convolutions' weights, since their addresses are all that the
        C++ sees.
        """
        side = self.shape.screen_side
        return (
            observation.device.type == "cpu"
            and observation.dtype == torch.uint8
            and observation.shape[1:] == (self.shape.num_frames, side, side)
            and observation.stride()[2:] == (side, 1)
            and len(observation) > 0
            and all(p.dtype == torch.float32 and p.device.type == "cpu" for p in parameters)
            and all(p.is_contiguous() for p in (parameters[-2], *parameters[1::2]))
            and (not bfloat16 or has_bfloat16())
        )

    def __call__(
        self, observation: Tensor, parameters: Sequence[Tensor], *, bfloat16: bool
    ) -> Tensor:
        """Features ``[batch, num_features]`` float32, differentiable in ``parameters``.

        Args:
            observation: screens that ``supports`` accepts.
            parameters: float32 weight and bias of every layer in order; the convolutions' weights
                in any memory format, all else contiguous.
            bfloat16: whether to multiply in bfloat16.
        """
        if not torch.is_grad_enabled():
            return self.forward(observation, parameters, bfloat16=bfloat16, keep=False)[0]
        features: Tensor = _TorsoFunction.apply(self, observation, bfloat16, *parameters)  # type: ignore[no-untyped-call]
        return features

    def _handle(self, bfloat16: bool) -> ctypes.c_void_p:
        if bfloat16 not in self._handles:
            shape = self.shape
            handle = ctypes.c_void_p(
                self._library.torso_create(
                    bfloat16,
                    shape.num_frames,
                    shape.screen_side,
                    ctypes.c_float(1 / shape.pixel_max),
                    len(shape.filters),
                    _ints(shape.filters),
                    _ints(shape.kernels),
                    _ints(shape.strides),
                    shape.num_features,
                )
            )
            weakref.finalize(self, self._library.torso_destroy, handle)
            self._handles[bfloat16] = handle
        return self._handles[bfloat16]

    def _pack(self, bfloat16: bool, parameters: Sequence[Tensor]) -> None:
        """Lay the weights out for the kernels, unless they are those of the last time."""
        packed = self._packed.get(bfloat16)
        if packed is None or not packed.is_of(parameters):
            self._library.torso_pack(
                self._handle(bfloat16),
                _pointers(parameters),
                _weight_strides(parameters),
                get_num_threads(),
            )
            self._packed[bfloat16] = _Identity(parameters)

    def _take_workspace(self, bfloat16: bool, batch: int, keep: bool) -> Tensor:
        free = self._free_workspaces(bfloat16, batch, keep)
        if free:
            return free.pop()
        size = self._library.torso_workspace_bytes(
            self._handle(bfloat16), batch, keep, get_num_threads()
        )
        return torch.empty(size, dtype=torch.uint8)

    def _give_back(self, workspace: Tensor, bfloat16: bool, batch: int, keep: bool) -> None:
        # A workspace of each size is kept, but never two.
        free = self._free_workspaces(bfloat16, batch, keep)
        if not free:
            free.append(workspace)

    def _free_workspaces(self, bfloat16: bool, batch: int, keep: bool) -> list[Tensor]:
        # What is kept lies by sample, what is not by thread.
        num_threads = 0 if keep else get_num_threads()
        return self._workspaces.setdefault((bfloat16, batch, num_threads), [])

    def forward(
        self, observation: Tensor, parameters: Sequence[Tensor], *, bfloat16: bool, keep: bool
    ) -> tuple[Tensor, Tensor]:
        """Features, and the workspace with what ``backward`` needs where ``keep``."""
        batch = len(observation)
        self._pack(bfloat16, parameters)
        workspace = self._take_workspace(bfloat16, batch, keep)
        features = torch.empty(batch, self.shape.num_features)
        self._library.torso_forward(
            self._handle(bfloat16),
            ctypes.c_void_p(observation.data_ptr()),
            ctypes.c_ssize_t(observation.stride(0)),
            ctypes.c_ssize_t(observation.stride(1)),
            batch,
            keep,
            ctypes.c_void_p(workspace.data_ptr()),
            ctypes.c_void_p(features.data_ptr()),
            get_num_threads(),
        )
        if not keep:
            self._give_back(workspace, bfloat16, batch, keep)
        return features, workspace

    def backward(
        self,
        workspace: Tensor,
        features: Tensor,
        gradient: Tensor,
        parameters: Sequence[Tensor],
        *,
        bfloat16: bool,
    ) -> list[Tensor]:
        """The parameters' gradients; gives the workspace back."""
        batch = len(features)
        gradients = [torch.empty_like(parameter) for parameter in parameters]
        self._library.torso_backward(
            self._handle(bfloat16),
            batch,
            ctypes.c_void_p(workspace.data_ptr()),
            ctypes.c_void_p(features.data_ptr()),
            ctypes.c_void_p(gradient.data_ptr()),
            _pointers(gradients),
            _weight_strides(gradients),
            get_num_threads(),
        )
        self._give_back(workspace, bfloat16, batch, True)
        return gradients


class _Identity:
    """Which tensors these were, and in which version, without keeping them alive.

    Address and version alone would lie: a weight that is computed anew for every call (noise) finds
    the memory of the last one again, in the same version.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self._tensors = tuple(weakref.ref(tensor) for tensor in tensors)
        self._versions = _versions(tensors)

    def is_of(self, tensors: Sequence[Tensor]) -> bool:
        """Whether nothing has been written into these tensors, and they are the same ones."""
        same = all(ref() is tensor for ref, tensor in zip(self._tensors, tensors, strict=True))
        return same and self._versions == _versions(tensors)


def _versions(tensors: Sequence[Tensor]) -> tuple[tuple[int, int], ...]:
    return tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)


def note_written(parameters: tuple[Tensor, ...]) -> None:
    """Tell ``NativeTorso`` that an optimizer has written these weights.

    PyTorch's fused optimizers write without counting the tensors' versions up, by which the torso
    knows that it must lay the weights out again.
    """
    increment_version(parameters)


class _TorsoFunction(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, native: NativeTorso, observation: Tensor, bfloat16: bool, *parameters: Tensor
    ) -> Tensor:
        keep = any(ctx.needs_input_grad)
        features, workspace = native.forward(observation, parameters, bfloat16=bfloat16, keep=keep)
        if keep:
            # Saved by the book, so that PyTorch notices weights that are changed in between.
            ctx.save_for_backward(features, *parameters)
            ctx.native, ctx.bfloat16, ctx.workspace = native, bfloat16, workspace
        return features

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        features, *parameters = ctx.saved_tensors
        workspace, ctx.workspace = ctx.workspace, None
        if workspace is None:
            raise RuntimeError("the native torso keeps what backward needs for one call only")
        return (
            None,
            None,
            None,
            *ctx.native.backward(
                workspace,
                features,
                gradients[0].to(torch.float32).contiguous(),
                parameters,
                bfloat16=ctx.bfloat16,
            ),
        )


@functools.cache
def unavailable_reason() -> str | None:
    """Why there is no native torso here, or None where there is one."""
    try:
        _library()
    except OSError as error:
        return str(error)
    return None


def has_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 (AVX512_BF16)."""
    return unavailable_reason() is None and bool(_library().torso_has_bfloat16())


def is_profitable() -> bool:
    """Whether the native torso is known to be faster than PyTorch's layers on this processor."""
    return unavailable_reason() is None and _library().torso_lanes() >= _PROFITABLE_LANES


@functools.cache
def _library() -> ctypes.CDLL:
    library = find_or_build(_SOURCE, "torso_cpu", _FLAGS)
    library.torso_create.restype = ctypes.c_void_p
    library.torso_workspace_bytes.restype = ctypes.c_size_t
    for name in ("torso_destroy", "torso_pack", "torso_forward", "torso_backward"):
        getattr(library, name).restype = None
    return library


def _ints(values: Sequence[int]) -> "ctypes.Array[ctypes.c_int]":
    return (ctypes.c_int * len(values))(*values)


def _pointers(tensors: Sequence[Tensor]) -> "ctypes.Array[ctypes.c_void_p]":
    return (ctypes.c_void_p * len(tensors))(*(tensor.data_ptr() for tensor in tensors))


def _weight_strides(parameters: Sequence[Tensor]) -> "ctypes.Array[ctypes.c_ssize_t]":
    """Four strides of each convolution's weight, one after the other."""
    strides = [stride for weight in parameters[:-2:2] for stride in weight.stride()]
    return (ctypes.c_ssize_t * len(strides))(*strides)
