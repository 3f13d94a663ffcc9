"""torch's generators, drawing from whole keys."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mico_hub.randomness import check_key

_MT19937_WORDS = 624
_DRAWN_AT_ONCE = {"cuda": 1 << 22, "cpu": 1 << 15}  # normals, for one model; about what a cache holds


def torch_state(key: bytes) -> torch.Tensor:
    """A state for torch's CPU generator with all 624 words filled from the key by SHAKE-256, a uint8 tensor.

    torch seeds its Mersenne Twister with 32 bits, so the state is set whole. Its layout is that of
    `at::mt19937_data_pod` followed by the cached normal draws.
    """
    state = torch.Generator().manual_seed(0).get_state().clone()
    words = np.frombuffer(hashlib.shake_256(key).digest(4 * _MT19937_WORDS), dtype="<u4")
    pod = state.numpy()
    # uint64 seed, int32 left, bool seeded (+3 padding), uint64 next, then the words, one uint64 each
    pod[24 : 24 + 8 * _MT19937_WORDS] = words.astype("<u8").view(np.uint8)
    return state


@contextmanager
def torch_randomness(key: bytes, device: torch.device | None = None) -> Iterator[None]:
    """Makes torch's global generators draw from `key` inside the block, and as before after it.

    Networks are initialised and dropout drawn from the global generators. On an accelerator (whose Philox generator
    has a 64-bit seed and a 64-bit offset) both are taken from the key.
    """
    cuda = [device] if device is not None and device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.set_rng_state(torch_state(key))
        for each in cuda:
            torch.cuda.set_rng_state(_cuda_state(key), each)
        yield


def _cuda_state(key: bytes) -> torch.Tensor:
    """A state for torch's CUDA generator: 64 bits of the key's hash as the seed, 61 as the offset."""
    seed, offset = np.frombuffer(hashlib.shake_256(b"cuda" + key).digest(16), dtype="<u8")
    offset = offset // 8 * 4  # below 2**63, and a multiple of 4, as torch requires
    return torch.from_numpy(np.array([seed, offset], dtype="<u8").view(np.uint8).copy())


def draws_on(device: str) -> str:
    """`cuda` or `cpu`: where noise and dropout for a torch device are drawn; the two draw differently from one key."""
    return "cuda" if torch.device(device).type == "cuda" else "cpu"


class GaussianNoise:
    """Standard normal noise for K models, each from its own key; a model's draws do not depend on K.

    On CUDA it is drawn there, for any other device on the CPU (see `NormalStream`); many steps at a time.
    """

    def __init__(self, keys: Sequence[bytes], shapes: Sequence[torch.Size], device: torch.device) -> None:
        """Draws nothing yet.

        Args:
            keys: One for each of the K models.
            shapes: Of what one model needs for a step.
            device: Where the noise is wanted.
        """
        self._shapes, self._device = shapes, device
        ends = np.cumsum([shape.numel() for shape in shapes]).tolist()
        self._size, self._cuts = ends[-1], ends[:-1]
        where = device if device.type == "cuda" else torch.device("cpu")
        self._steps = self._next = max(1, _DRAWN_AT_ONCE[where.type] // self._size)
        self._drawn = torch.empty((len(keys), self._steps, self._size), device=where)
        self._fill = [self._filler(key, model) for key, model in zip(keys, self._drawn, strict=True)]

    def draw(self) -> list[torch.Tensor]:
        """The noise of the next step, float32 (K, *shape) for each shape; overwritten by later steps."""
        if self._next == self._steps:
            for fill in self._fill:
                fill()
            self._next = 0
        step = self._drawn[:, self._next].to(self._device)
        self._next += 1
        parts = step.tensor_split(self._cuts, dim=1)
        return [part.view(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    @staticmethod
    def _filler(key: bytes, values: torch.Tensor) -> Callable[[], object]:
        if values.device.type == "cuda":
            generator = torch.Generator(values.device)
            generator.set_state(_cuda_state(key))
            return lambda: values.normal_(generator=generator)
        stream = NormalStream(key, *values.shape)
        return lambda: stream.fill(values)


class NormalStream:
    """Standard normal draws on the CPU from the AES-128 key stream of a key, by Box and Muller's transform.

    Of two 32-bit integers u and v one makes the radius sqrt(-2 log((|u| + 1/2) / 2^31)), the other the angle
    pi v / 2^31. Small |u| are exact in float32, so the tail goes on to 6.66 deviations; a uniform float32 would end it
    at 5.77, which a full training would notice.
    """

    def __init__(self, key: bytes, rows: int, size: int) -> None:
        """Prepares draws of `size` values for each of some rows; how many rows are drawn at once changes no value.

        Raises:
            ValueError: The key is not `KEY_BYTES` bytes.
        """
        check_key(key)
        pairs = -(-size // 2)
        self._cipher = Cipher(algorithms.AES128(key), modes.CTR(bytes(16))).encryptor()
        self._zeros = bytes(8 * rows * pairs)
        self._bytes = np.zeros(8 * rows * pairs + 15, dtype=np.uint8)  # the cipher wants room for a block more
        integers = torch.from_numpy(self._bytes[: 8 * rows * pairs].view("<i4").reshape(rows, 2, pairs))
        self._first, self._second = integers.unbind(dim=1)
        self._radius, self._angle, self._sine = (torch.empty(rows, pairs) for _ in range(3))

    def fill(self, values: torch.Tensor) -> None:
        """Overwrites `values`, float32 (rows, size), with the next draws."""
        self._cipher.update_into(self._zeros, self._bytes.data)
        self._radius.copy_(self._first).abs_().add_(0.5).mul_(2**-31).log_().mul_(-2).sqrt_()
        self._angle.copy_(self._second).mul_(math.pi / 2**31)
        torch.sin(self._angle, out=self._sine).mul_(self._radius)
        cosine, pairs = self._angle.cos_().mul_(self._radius), self._angle.shape[1]
        values[:, :pairs] = cosine
        values[:, pairs:] = self._sine[:, : values.shape[1] - pairs]
