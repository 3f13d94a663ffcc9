"""Secret randomness: keys from the operating system, and generators that use every bit of them.

Whoever knows the noise of a DP-SGD run can subtract it, and whoever can guess a seed knows the noise. So each model
has a key of its own for each purpose, drawn from the operating system and kept in `private/`; no two generators share
one. An integer-seeded `torch.Generator` on the CPU will not do: it keeps 32 bits of the seed.
"""

import hashlib
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np
import torch

KEY_BYTES = 16  # 128 bits, the whole key of numpy's Philox
_MT19937_WORDS = 624


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """One model's secret keys, `KEY_BYTES` bytes each, one per purpose."""

    initialisation: bytes
    sampling: bytes
    noise: bytes
    dropout: bytes

    @classmethod
    def draw(cls) -> "Keys":
        """Fresh keys from the operating system's random source."""
        return cls(**{field.name: secrets.token_bytes(KEY_BYTES) for field in fields(cls)})

    def to_hex(self) -> dict[str, str]:
        """Purpose -> key in hexadecimal, as written to `private/keys.json`."""
        return {field.name: getattr(self, field.name).hex() for field in fields(self)}

    @classmethod
    def from_hex(cls, keys: dict[str, str]) -> "Keys":
        """The inverse of `to_hex`.

        Raises:
            ValueError: A purpose is missing or unknown, or a key is not `KEY_BYTES` bytes of hexadecimal.
        """
        expected = {field.name for field in fields(cls)}
        if set(keys) != expected:
            raise ValueError(f"expected keys for {sorted(expected)}, got {sorted(keys)}")
        decoded = {purpose: bytes.fromhex(key) for purpose, key in keys.items()}
        short = [purpose for purpose, key in decoded.items() if len(key) != KEY_BYTES]
        if short:
            raise ValueError(f"expected {KEY_BYTES} bytes for each key, got another length for {short}")
        return cls(**decoded)

    def __repr__(self) -> str:
        return "Keys(secret)"  # a key must not reach a log or a traceback


def numpy_generator(key: bytes) -> np.random.Generator:
    """A counter-based generator (Philox 4x64) whose 128-bit key is `key`.

    Raises:
        ValueError: The key is not `KEY_BYTES` bytes.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype="<u8").astype(np.uint64)))


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
            seed, offset = np.frombuffer(hashlib.shake_256(b"cuda" + key).digest(16), dtype="<u8")
            offset = offset // 8 * 4  # below 2**63, and a multiple of 4, as torch requires
            torch.cuda.set_rng_state(
                torch.from_numpy(np.array([seed, offset], dtype="<u8").view(np.uint8).copy()), each
            )
        yield
