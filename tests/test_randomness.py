import numpy as np
import pytest
import scipy.stats
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from mico_hub.randomness import KEY_BYTES, Keys, generators, numpy_generator
from mico_hub.randomness.generators import GaussianNoise, NormalStream, torch_randomness, torch_state


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


def test_noise_is_normal() -> None:
    """Moments, tails and the whole distribution, each to five standard errors: fails once in a million runs."""
    stream = NormalStream(Keys.draw().noise, 10, 50_001)
    drawn = torch.empty(40, 50_001)
    for rows in drawn.view(4, 10, 50_001):
        stream.fill(rows)
    values = drawn.double().flatten().numpy()
    assert abs(values.mean()) < 5 / np.sqrt(len(values))
    assert abs(values.var() - 1) < 5 * np.sqrt(2 / len(values))
    for deviations in (1, 2, 3, 4, 4.5):
        expected = 2 * scipy.stats.norm.sf(deviations)
        share = (np.abs(values) > deviations).mean()
        assert abs(share - expected) < 5 * np.sqrt(expected / len(values))
    assert scipy.stats.kstest(values, "norm").pvalue > 1e-6
    halves = drawn[:, :50_000].view(40, 2, -1).double()  # the two of a pair are independent, as are steps
    assert abs((halves[:, 0] * halves[:, 1]).mean()) < 5 / np.sqrt(halves[:, 0].numel())
    assert abs((drawn[1:].double() * drawn[:-1].double()).mean()) < 5 / np.sqrt(drawn[1:].numel())


def test_the_noise_is_the_transform_of_the_ciphers_key_stream() -> None:
    """The same again with an encryption of zeros at once and float64."""
    key = bytes(range(16))
    encryptor = Cipher(algorithms.AES128(key), modes.CTR(bytes(16))).encryptor()
    words = np.frombuffer(encryptor.update(bytes(3 * 8 * 4)), dtype="<i4").astype(float).reshape(3, 2, 4)
    radius = np.sqrt(-2 * np.log((np.abs(words[:, 0]) + 0.5) / 2**31))
    expected = np.concatenate(
        [radius * np.cos(np.pi * words[:, 1] / 2**31), radius * np.sin(np.pi * words[:, 1] / 2**31)], axis=1
    )
    stream = NormalStream(key, 1, 7)  # an odd number: the eighth value is thrown away
    for row in expected:
        drawn = torch.empty(1, 7)
        stream.fill(drawn)
        assert np.allclose(drawn[0].numpy(), row[:7], atol=1e-5)


@pytest.mark.parametrize("bit", [0, 31, 32, 63, 64, 95, 96, 127])
def test_every_bit_of_a_key_counts_for_noise(bit: int) -> None:
    key = bytes(range(KEY_BYTES))
    noise = GaussianNoise([key, flipped(key, bit), key], [torch.Size([50])], torch.device("cpu")).draw()[0]
    assert not torch.isin(noise[0], noise[1]).any()
    assert torch.equal(noise[0], noise[2])


def test_noise_comes_in_the_shapes_asked_for_and_anew_each_step() -> None:
    noise = GaussianNoise([b"k" * 16, b"l" * 16], [torch.Size([3, 2]), torch.Size([5])], torch.device("cpu"))
    first = [part.clone() for part in noise.draw()]
    second = noise.draw()
    assert [part.shape for part in first] == [(2, 3, 2), (2, 5)]
    assert not any(torch.isin(a, b.clone()).any() for a, b in zip(first, second, strict=True))


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


@pytest.mark.parametrize("size", [9, 19, 4_810])  # in each row: less than a vector, some of a vector left, many
def test_noise_that_is_drawn_for_several_steps_is_that_of_single_steps(size: int) -> None:
    """Also past the end of what is drawn at once."""
    key = Keys.draw().noise
    single, several = NormalStream(key, 1, size), NormalStream(key, 3, size)
    expected, drawn = torch.empty(9, 1, size), torch.empty(3, 3, size)
    for row in expected:
        single.fill(row)
    for rows in drawn:
        several.fill(rows)
    assert torch.equal(drawn.view(9, size), expected.view(9, size))


def test_the_state_for_cuda_is_made_of_the_whole_key() -> None:
    """uint64 seed, then int64 offset, which torch wants to be a multiple of 4."""
    keys = [Keys.draw().noise for _ in range(200)]
    states = [generators._cuda_state(key).numpy().view("<u8") for key in keys]
    assert all(state.shape == (2,) and state[1] % 4 == 0 and state[1] < 2**63 for state in states)
    assert len({int(state[0]) for state in states}) == len({int(state[1]) for state in states}) == 200
    for bit in range(128):
        assert (generators._cuda_state(flipped(keys[0], bit)).numpy().view("<u8") != states[0]).all()
    bits = np.unpackbits(np.array(states).view(np.uint8), axis=1).mean(axis=0)
    constant = (bits == 0) | (bits == 1)
    assert constant.sum() == 3  # of the offset: two low bits and the sign
