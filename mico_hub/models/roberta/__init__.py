"""roberta-base as a sentence classifier: the competition's network for SST-2, its tokeniser and where it starts from.

Configuration and vocabulary are here, so that only pretrained weights need the Hub.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError
from torch import nn

from mico_hub.cache import refuse_pointer
from mico_hub.data.hub import reachable
from mico_hub.models.base import Architecture, Start

if TYPE_CHECKING:
    from transformers import RobertaTokenizerFast

TITLE, PRETRAINED = "roberta-base", "FacebookAI/roberta-base"
MAX_LENGTH = 67
"""Tokens that every sentence is padded or cut to, the competition's."""

CONFIGURATION = {
    "vocab_size": 50_265,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3_072,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}

_IMPORTING = threading.Lock()
"""Held while transformers is imported: its lazy modules are half made for a second thread."""


def build(**configuration: Any) -> nn.Module:
    """A RoBERTa sequence classifier of that configuration, with random weights."""
    with _IMPORTING:
        from transformers import RobertaConfig, RobertaForSequenceClassification

    network: nn.Module = RobertaForSequenceClassification(RobertaConfig(**configuration))
    return network


def load_start(source: Path | str | None = None) -> Start:
    """Pretrained weights.

    Args:
        source: A folder or a model on the Hub; `PRETRAINED` by default.

    Raises:
        OSError: The weights were not found, or are not of such a network; the message says what to do.
    """
    where = str(source or PRETRAINED)
    expected = (
        f"expected a folder with config.json and model.safetensors, or the Hub's {PRETRAINED}. "
        f"Pass the folder with --pretrained."
    )
    for path in Path(where).glob("*.safetensors"):
        refuse_pointer(path)
    try:
        folder = _folder(where)
        with _IMPORTING:
            from transformers import RobertaForSequenceClassification

        network, found = cast(Any, RobertaForSequenceClassification).from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    except (OSError, HFValidationError) as error:
        raise OSError(f"the pretrained weights of {TITLE} were not found at {where!r}: {expected}") from error
    state = {key: value for key, value in network.state_dict().items() if not key.startswith("classifier.")}
    if absent := sorted(set(found["missing_keys"]) & set(state)):
        raise OSError(f"{where!r} has no weights for {len(absent)} parts of {TITLE}, {absent[0]}: {expected}")
    return Start({key: getattr(network.config, key) for key in CONFIGURATION}, state)


def _folder(where: str) -> Path:
    """The folder itself, or one that the Hub's files were downloaded to: looked up before transformers is imported."""
    folder = Path(where)
    if not folder.is_dir():
        files = ["config.json", "*.safetensors*"]
        folder = Path(snapshot_download(where, allow_patterns=files, local_files_only=not reachable()))
    return folder


@lru_cache(maxsize=1)
def tokenizer() -> "RobertaTokenizerFast":
    """roberta-base's tokenizer, from the two files beside this one: no network.

    Raises:
        OSError: The vocabulary did not load whole.
    """
    with _IMPORTING:
        from transformers import RobertaTokenizerFast

    folder, expected = Path(__file__).parent, CONFIGURATION["vocab_size"]
    built = RobertaTokenizerFast(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    if len(built) != expected:  # keyword arguments that transformers does not know are ignored without a word
        raise OSError(f"{folder}: expected {expected:,} tokens, got {len(built):,}; reinstall mico-hub")
    return built


def tokenise(sentences: Sequence[str]) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask`, each int64 (B, 67): padded, or cut, to `MAX_LENGTH` tokens."""
    if not sentences:
        return {key: torch.empty((0, MAX_LENGTH), dtype=torch.int64) for key in ("input_ids", "attention_mask")}
    encoded: Any = tokenizer()(
        list(sentences), padding="max_length", truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
    )
    return {key: encoded[key] for key in ("input_ids", "attention_mask")}


ARCHITECTURES = {
    "roberta": Architecture(build, TITLE, 11.4e9, CONFIGURATION, tokenise, load_start, packages=("transformers",))
}
