import math
from dataclasses import replace

import pytest

from mico_hub.data import DATASETS
from mico_hub.models import MODELS
from mico_hub.suites import SUITES, Suite, UnknownSuiteError, get_suite, tracks

COMPETITION = {
    # name: (model, n, epsilon, batch, order, epochs, optimiser, clip, track, disclosure)
    "cifar10_inf": ("cnn", 50_000, math.inf, 32, "sequential", 50, "SGD 0.005, x0.96 each epoch", None),
    "cifar10_hi": ("cnn", 50_000, 10, 512, "poisson", 50, "SGD 0.5, x0.96 each epoch", 2.6),
    "cifar10_lo": ("cnn", 50_000, 4, 512, "poisson", 50, "SGD 0.5, x0.96 each epoch", 2.6),
    "cifar10_ddp": ("cnn", 50_000, 4, 512, "poisson", 50, "SGD 0.5, x0.96 each epoch", 2.6),
    "purchase100_inf": ("mlp", 150_000, math.inf, 512, "sequential", 30, "Adam 0.001, x0.9 every 5 epochs", None),
    "purchase100_hi": ("mlp", 150_000, 10, 512, "poisson", 30, "Adam 0.001, x0.9 every 5 epochs", 2.6),
    "purchase100_lo": ("mlp", 150_000, 4, 512, "poisson", 30, "Adam 0.001, x0.9 every 5 epochs", 2.6),
    "purchase100_ddp": ("mlp", 150_000, 4, 512, "poisson", 30, "Adam 0.001, x0.9 every 5 epochs", 2.6),
    "sst2_inf": ("roberta", 67_349, math.inf, 96, "shuffled", 3, "AdamW 5e-05, constant", None),
    "sst2_hi": ("roberta", 67_349, 10, 1_024, "poisson", 3, "AdamW 0.0005, constant", 0.1),
    "sst2_lo": ("roberta", 67_349, 4, 1_024, "poisson", 3, "AdamW 0.0005, constant", 0.1),
    "sst2_ddp": ("roberta", 67_349, 4, 1_024, "poisson", 3, "AdamW 0.0005, constant", 0.1),
}


@pytest.mark.parametrize("name", COMPETITION)
def test_the_competitions_recipes_are_as_they_were(name: str) -> None:
    suite = SUITES[name]
    got = (
        suite.model,
        suite.n,
        suite.epsilon,
        suite.batch_size,
        suite.order,
        suite.epochs,
        str(suite.optimiser),
        suite.clipping_norm,
    )
    assert got == COMPETITION[name]
    assert suite.m == 100
    assert suite.models == (100, 50, 50)
    assert suite.delta == (1e-5 if suite.private else None)
    assert suite.max_grad_norm == (1.0 if name == "sst2_inf" else None)
    assert suite.disclosure == ("training" if name.endswith("_ddp") else "challenge")
    assert suite.track == ("ddp" if name.endswith("_ddp") else suite.dataset)


def test_sampling_is_as_opacus_and_the_competition_had_it() -> None:
    assert [SUITES[name].steps_per_epoch for name in ("cifar10_hi", "purchase100_hi", "sst2_hi")] == [98, 293, 66]
    assert [SUITES[name].expected_batch_size for name in ("cifar10_hi", "purchase100_hi", "sst2_hi")] == [
        510,
        511,
        1020,
    ]
    assert SUITES["cifar10_hi"].sampling_rate == 1 / 98
    assert SUITES["cifar10_hi"].steps == 4_900


@pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
def test_every_row_of_the_table_is_sound(suite: Suite) -> None:
    info = DATASETS[suite.dataset]
    assert suite.model in MODELS
    assert suite.n + suite.m <= info.num_records
    assert suite.private == (suite.delta is not None) == (suite.clipping_norm is not None) == (suite.order == "poisson")
    assert suite.expected_batch_size == int(suite.n * suite.sampling_rate + 1e-9)
    assert [len(ids) for ids in suite.model_ids.values()] == list(suite.models)
    assert [suite.split_of(model_id) for ids in suite.model_ids.values() for model_id in ids] == [
        split for split, ids in suite.model_ids.items() for _ in ids
    ]


def test_tracks_of_the_competition_have_three_suites_each() -> None:
    assert [len(tracks()[track]) for track in ("cifar10", "purchase100", "sst2", "ddp")] == [3] * 4


def test_the_digits_suites_differ_in_privacy_alone() -> None:
    inf, hi, lo = tracks()["digits"]
    assert replace(hi, name=lo.name, epsilon=lo.epsilon) == lo
    assert (inf.n, inf.m, inf.model, inf.batch_size, inf.epochs) == (hi.n, hi.m, hi.model, hi.batch_size, hi.epochs)


def test_an_unknown_suite_names_the_nearest_and_all() -> None:
    with pytest.raises(UnknownSuiteError, match=r"unknown suite 'cifar10_high'. Did you mean 'cifar10_hi'\? There are"):
        get_suite("cifar10_high")


def test_a_model_id_outside_the_suite_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a model_id from 0 to 199, got 200"):
        SUITES["cifar10_hi"].split_of(200)
