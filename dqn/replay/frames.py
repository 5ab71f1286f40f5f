"""Where a ring keeps its frames: as they are, or each one compressed."""

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import zstandard

# zstd's fast level 1. On six games its frames are up to 16 % larger than those of level 1 and
# decompress in half to nine tenths of the time, which is what sampling waits for.
_ZSTD_LEVEL = -1
# What a compressed frame of 84x84 is taken to need before any is known: frames of Ms. Pac-Man, the
# largest of six games (Pong 174, Breakout 327, Seaquest 497, River Raid 620, Space Invaders 1,246,
# Ms. Pac-Man 1,306 bytes on average), and what CPython and its allocator add to one.
_COMPRESSED_SHARE = 1_306 / 7_056
_OBJECT_BYTES = 33 + 8 + 7


class FrameStorage(Protocol):
    """Frames ``[num_envs, slots, *frame_shape]``; a slot is written before it is read."""

    @property
    def dtype(self) -> torch.dtype:
        """Type of the frames."""

    @property
    def nbytes(self) -> int:
        """Bytes of memory: of all slots, or, compressed, of those that have been written."""

    def write(self, slots: torch.Tensor, frames: torch.Tensor) -> None:
        """Put ``[num_envs, len(slots), *frame_shape]`` into columns ``slots``."""

    def read(self, slots: torch.Tensor) -> torch.Tensor:
        """A copy of columns ``slots``, ``[num_envs, len(slots), *frame_shape]``, on the CPU."""

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """``[len(index), *frame_shape]`` on the ring's device, ``index = env * slots + slot``."""


def frame_bytes(frame_shape: Sequence[int], frame_dtype: torch.dtype, *, compressed: bool) -> float:
    """Bytes that one frame takes; of a compressed one, an estimate from the high end.

    >>> frame_bytes((84, 84), torch.uint8, compressed=False)
    7056
    >>> frame_bytes((84, 84), torch.uint8, compressed=True)
    1354.0
    """
    num_bytes = math.prod(frame_shape) * frame_dtype.itemsize
    return num_bytes * _COMPRESSED_SHARE + _OBJECT_BYTES if compressed else num_bytes


class RawFrames:
    """Frames as they are, in one tensor on any device."""

    def __init__(
        self,
        num_envs: int,
        slots: int,
        frame_shape: Sequence[int],
        frame_dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        # Left uninitialised on purpose: the operating system then hands out pages as it fills.
        self._frames = torch.empty(
            (num_envs, slots, *frame_shape), dtype=frame_dtype, device=device
        )

    @property
    def dtype(self) -> torch.dtype:
        """Type of the frames."""
        return self._frames.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the whole tensor."""
        return self._frames.nbytes

    def write(self, slots: torch.Tensor, frames: torch.Tensor) -> None:
        """Put ``[num_envs, len(slots), *frame_shape]`` into columns ``slots``."""
        device = self._frames.device
        self._frames.index_copy_(1, slots.to(device), frames.to(device))

    def read(self, slots: torch.Tensor) -> torch.Tensor:
        """A copy of columns ``slots``, ``[num_envs, len(slots), *frame_shape]``, on the CPU."""
        return self._frames.index_select(1, slots.to(self._frames.device)).cpu()

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """``[len(index), *frame_shape]`` on the device, of ``index = env * slots + slot``."""
        index = index.to(self._frames.device, non_blocking=True)
        return self._frames.flatten(0, 1).index_select(0, index)


class CompressedFrames:
    """Each frame a zstd frame of its own in memory, so that any one is read without the others.

    Gathered frames are the very bits that were written.
    """

    def __init__(
        self,
        num_envs: int,
        slots: int,
        frame_shape: Sequence[int],
        frame_dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self._slots = slots
        self._shape = (num_envs, *frame_shape)
        self._dtype = frame_dtype
        self._device = device
        self._frame_bytes = math.prod(frame_shape) * frame_dtype.itemsize
        self._compressed: list[bytes | None] = [None] * (num_envs * slots)
        self._num_bytes = 0
        self._compressor = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    @property
    def dtype(self) -> torch.dtype:
        """Type of the frames."""
        return self._dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the frames written so far, and of the objects that hold them."""
        return self._num_bytes + 8 * len(self._compressed)

    def write(self, slots: torch.Tensor, frames: torch.Tensor) -> None:
        """Put ``[num_envs, len(slots), *frame_shape]`` into columns ``slots``."""
        for env, row in enumerate(frames.cpu().numpy()):
            for slot, frame in zip(slots.tolist(), row, strict=True):
                index = env * self._slots + slot
                compressed = self._compressor.compress(frame.tobytes())
                self._num_bytes += self._size(compressed) - self._size(self._compressed[index])
                self._compressed[index] = compressed

    def read(self, slots: torch.Tensor) -> torch.Tensor:
        """A copy of columns ``slots``, ``[num_envs, len(slots), *frame_shape]``, on the CPU."""
        num_envs, *frame_shape = self._shape
        index = torch.arange(num_envs)[:, None] * self._slots + slots
        return self._decompress(index.flatten()).view(num_envs, len(slots), *frame_shape)

    def gather(self, index: torch.Tensor) -> torch.Tensor:
        """``[len(index), *frame_shape]`` on the device, of ``index = env * slots + slot``."""
        return self._decompress(index).to(self._device)

    def _decompress(self, index: torch.Tensor) -> torch.Tensor:
        out = np.empty((len(index), self._frame_bytes), dtype=np.uint8)
        for row, position in zip(out, index.tolist(), strict=True):
            compressed = self._compressed[position]
            if compressed is not None:  # A slot before a game's first frame: the ring blanks it.
                row[:] = np.frombuffer(self._decompressor.decompress(compressed), np.uint8)
        return torch.from_numpy(out).view(self._dtype).view(len(index), *self._shape[1:])

    @staticmethod
    def _size(compressed: bytes | None) -> int:
        return 0 if compressed is None else len(compressed) + _OBJECT_BYTES - 8
