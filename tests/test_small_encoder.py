"""A BERT as the RoBERTa that computes the same, in roberta-base's tokens."""

import shutil
from pathlib import Path
from typing import Any

import fresh
import pytest
import torch
from synthetic import tiny_bert
from tokenizers import Tokenizer

from mico_hub.data import DataError
from mico_hub.models import initialise, load_start
from mico_hub.models.roberta import tokenise, tokenizer
from upload_scripts.small_encoder import FILES, WORDS, write_encoder


def test_a_bert_and_the_roberta_made_of_it_compute_the_same(tmp_path: Path) -> None:
    """Where a token is a word piece: through the tokeniser, padding and all."""
    from transformers import BertModel

    source = tiny_bert(tmp_path / "bert")
    start = load_start("roberta", write_encoder(source, tmp_path / "roberta"))
    network: Any = initialise("roberta", bytes(16), start).eval()
    bert: Any = BertModel.from_pretrained(source)
    bert.eval()
    sentences = ["no plot and a dull film", "a plot"]
    ours = tokenise(sentences)
    pieces = Tokenizer.from_file(str(source / "tokenizer.json"))
    pieces.enable_padding(length=ours["input_ids"].shape[1])
    theirs = [each.ids for each in pieces.encode_batch(sentences)]
    mask = ours["attention_mask"]
    assert [sum(number != 0 for number in row) for row in theirs] == mask.sum(dim=1).tolist()  # one for one
    inside = network.roberta(**ours).last_hidden_state
    expected = bert(input_ids=torch.tensor(theirs), attention_mask=mask).last_hidden_state
    assert torch.allclose(inside[mask == 1], expected[mask == 1], atol=1e-6)


def test_a_token_is_the_mean_of_its_word_pieces(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    words = ("un", "##like", "##ly", "like", "ly", "the")
    source = tiny_bert(tmp_path / "bert", words)
    before = load_file(source / "model.safetensors")["embeddings.word_embeddings.weight"]
    after = load_file(write_encoder(source, tmp_path / "roberta") / "model.safetensors")[f"roberta.{WORDS}"]
    number = tokenizer().get_vocab()
    piece = {word: before[5 + place] for place, word in enumerate(words)}
    unknown = before[1]
    for token, expected in {
        "\u0120unlikely": (piece["un"] + piece["##like"] + piece["##ly"]) / 3,
        "\u0120like": piece["like"],
        "like": piece["##like"],  # no space before it: it goes on with a word
        "the": piece["the"],  # which has no such piece
        "The": piece["the"],
        "\u0120film": unknown,
        "<s>": before[2],
        "<pad>": before[0],
        "</s>": before[3],
        "<mask>": before[4],
    }.items():
        assert torch.allclose(after[number[token]], expected, atol=1e-6), token
    assert len(after) == len(tokenizer())


@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_lacks_a_file_is_refused(name: str, tmp_path: Path) -> None:
    source = tiny_bert(tmp_path / "bert")
    (source / name).unlink()
    with pytest.raises(DataError, match=rf"bert: expected a BERT's config.json, .*; {name} not found"):
        write_encoder(source, tmp_path / "roberta")
    assert not (tmp_path / "roberta").exists()


def test_the_command_says_how_to_go_on_and_what_it_lacks(tmp_path: Path) -> None:
    script = str(Path(__file__).parents[1] / "upload_scripts" / "small_encoder.py")
    source = tiny_bert(tmp_path / "bert")
    done = fresh.run(script, str(source), "--out", "encoder", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "encoder is ready: mico-hub train sst2_hi --pretrained encoder\n"
    assert load_start("roberta", tmp_path / "encoder") is not None
    shutil.copy(tmp_path / "encoder" / "model.safetensors", source)
    done = fresh.run(script, str(source), "--out", "other", cwd=tmp_path)
    assert done.returncode == 2
    assert "expected a BERT's weights; embeddings." in done.stderr
    assert not (tmp_path / "other").exists()
