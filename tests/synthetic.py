"""Made-up base datasets of the right form, so that every suite's recipe can be tried without its data."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mico_hub import models
from mico_hub.data import BaseDataset, cifar10, digits
from mico_hub.models import MODELS, roberta
from mico_hub.suites import Suite

N = 60
WORDS = ("a", "dull", "charming", "film", "of", "tireless", "wit", "and", "no", "plot")


def base_dataset(name: str, num_records: int = N) -> BaseDataset:
    """Random records of the dataset's shape."""
    rng = np.random.default_rng(0)
    shapes = {"cifar10": (3, 32, 32), "purchase100": (600,), "location30": (446,)}
    shape = shapes.get(name, (64,) if name.startswith("digits") else None)
    high = {"cifar10": 256, "digits": 17}.get(name, 2)
    classes = {"purchase100": 100, "location30": 30, "sst2": 2}.get(name, 10)
    raw: torch.Tensor | tuple[str, ...]
    if shape is None:
        raw = tuple(" ".join(rng.choice(WORDS, rng.integers(2, 12))) for _ in range(num_records))
    else:
        raw = torch.from_numpy(rng.integers(0, high, (num_records, *shape), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, classes, num_records))
    prepare: dict[str, Callable[..., object]] = {
        "cifar10": cifar10.normalise,
        "purchase100": torch.Tensor.float,
        "location30": torch.Tensor.float,
        "digits": digits.normalise,
        "digits_canaries": digits.normalise,
        "sst2": roberta.tokenise,
    }
    return BaseDataset(name, raw, labels, f"{num_records:064x}", "synthetic", prepare[name])  # type: ignore[arg-type]


def tiny_roberta(monkeypatch: pytest.MonkeyPatch, dropout: float = 0.1) -> None:
    """Makes RoBERTa small enough for a test, from random weights, with the real vocabulary."""
    tiny = dict(MODELS["roberta"].configuration) | {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    changed = dict(MODELS) | {"roberta": replace(MODELS["roberta"], configuration=tiny)}
    monkeypatch.setattr(models, "MODELS", changed)


def tiny_weights(folder: Path, seed: int = 0) -> Any:
    """Saves a RoBERTa small enough for a test, from random weights, as transformers does, and returns it."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(seed)
    network = RobertaForSequenceClassification(RobertaConfig(**(dict(MODELS["roberta"].configuration) | shape)))
    network.save_pretrained(folder)
    return network


def small(suite: Suite, epochs: int = 1) -> Suite:
    """The suite's recipe with so few records that a few steps are an epoch."""
    return replace(suite, n=30, m=10, batch_size=12, epochs=epochs, models=(1, 0, 0))


def tiny_bert(folder: Path, words: Sequence[str] = WORDS) -> Path:
    """Saves a BERT small enough for a test, from random weights, and a tokenizer that knows those word pieces."""
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertConfig, BertModel

    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    vocabulary = {token: number for number, token in enumerate((*special, *words))}
    shape = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(vocabulary), **shape)).save_pretrained(folder)  # type: ignore[arg-type]
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_padding(length=16)  # as MiniLM's says
    tokenizer.enable_truncation(16)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
