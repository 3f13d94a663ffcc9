"""Secret randomness: keys from the operating system, and generators that use every bit of them.

Whoever knows the noise of a DP-SGD run can subtract it, and whoever can guess a seed knows the noise. So each model
has a key of its own for each purpose, drawn from the operating system and kept in `private/`; no two generators share
one. An integer-seeded `torch.Generator` on the CPU will not do: it keeps 32 bits of the seed.
"""

import secrets
from dataclasses import dataclass, fields

import numpy as np

KEY_BYTES = 16  # 128 bits, the whole key of numpy's Philox


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
    check_key(key)
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype="<u8").astype(np.uint64)))


def check_key(key: bytes) -> None:
    """Refuses another length.

    Raises:
        ValueError: The key is not `KEY_BYTES` bytes.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"expected a key of {KEY_BYTES} bytes, got {len(key)}")
