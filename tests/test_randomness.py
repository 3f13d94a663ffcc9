import numpy as np
import pytest
import torch

from mico_hub.randomness import KEY_BYTES, Keys, numpy_generator, torch_randomness, torch_state


def flipped(key: bytes, bit: int) -> bytes:
    changed = bytearray(key)
    changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def torch_draws(key: bytes) -> torch.Tensor:
    with torch_randomness(key):
        return torch.rand(100)


@pytest.mark.parametrize("bit", [0, 31, 32, 63, 64, 95, 96, 127])
def test_every_bit_of_a_key_counts(bit: int) -> None:
    key = bytes(range(KEY_BYTES))
    other = flipped(key, bit)
    assert not np.isin(numpy_generator(key).random(100), numpy_generator(other).random(100)).any()
    assert torch.isin(torch_draws(key), torch_draws(other)).sum() <= 1  # float32 draws collide about once in 1,700 runs


def test_an_integer_seeded_torch_generator_would_not_do() -> None:
    seeds = 7, 7 + 2**32
    first, second = (torch.rand(10, generator=torch.Generator().manual_seed(seed)) for seed in seeds)
    assert torch.equal(first, second)


def test_the_torch_state_is_read_whole() -> None:
    """Draws from the state equal an independent Mersenne Twister with the same 624 words."""
    key = b"sixteen byte key"
    words = torch_state(key).numpy()[24 : 24 + 8 * 624].view("<u8").astype(np.uint32)
    twister = np.random.MT19937()
    twister.state = {"bit_generator": "MT19937", "state": {"key": words, "pos": 624}}
    generator = torch.Generator()
    generator.set_state(torch_state(key))
    drawn = torch.randint(0, 2**16, (2_000,), generator=generator).numpy()
    assert (drawn == twister.random_raw(2_000) % 2**16).all()
    assert len(np.unique(words)) > 620


def test_the_global_generator_is_as_before_after_the_block() -> None:
    torch.manual_seed(1)
    expected = torch.rand(5)
    torch.manual_seed(1)
    with torch_randomness(bytes(KEY_BYTES)):
        torch.rand(5)
    assert torch.equal(torch.rand(5), expected)


def test_draws_look_normal() -> None:
    drawn = numpy_generator(Keys.draw().noise).standard_normal(400_000, dtype=np.float32)
    assert abs(drawn.mean()) < 5 / np.sqrt(len(drawn))  # five standard errors: fails once in 1.7 million runs
    assert abs(drawn.var() - 1) < 5 * np.sqrt(2 / len(drawn))
    assert abs((np.abs(drawn) > 2).mean() - 0.0455) < 5 * np.sqrt(0.0455 / len(drawn))


def test_keys_are_fresh_and_go_through_hex() -> None:
    drawn = [Keys.draw() for _ in range(50)]
    all_keys = [bytes.fromhex(key) for keys in drawn for key in keys.to_hex().values()]
    assert len(set(all_keys)) == 200
    assert {len(key) for key in all_keys} == {KEY_BYTES}
    assert Keys.from_hex(drawn[0].to_hex()) == drawn[0]
    assert drawn[0].noise.hex() not in repr(drawn[0])


@pytest.mark.parametrize("change", [{"noise": "00"}, {"extra": "00" * 16}])
def test_keys_that_are_not_whole_are_refused(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Keys.from_hex(Keys.draw().to_hex() | change)


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a key of 16 bytes, got 4"):
        numpy_generator(b"four")
