"""A SentencePiece tokenizer as transformers expects it, so that its ids are those of SentencePiece.

The class FNetTokenizer takes every vocabulary for one of unigram, lower-cases and drops accents. What is
written here names the general class instead: AutoTokenizer opens it, and it does what tokenizer.json says.
"""

import base64
import json
import os
import shutil
from typing import Any

from sentencepiece import sentencepiece_model_pb2

from fnet_jax.core.errors import UserError
from fnet_jax.core.special_tokens import (
    CLS_ID,
    MASK_ID,
    NUM_SPECIAL_IDS,
    PAD_ID,
    SEP_ID,
    SPECIAL_TOKENS,
    UNK_ID,
)

SENTENCEPIECE = "spiece.model"
TOKENIZER_CONFIG = "tokenizer_config.json"
_PROTO: Any = sentencepiece_model_pb2  # its names are made when it is imported
_SPACE = "▁"
_NEVER = -1e4  # score of pieces that no text is cut into


def write(tokenizer_path: str, folder: str, max_seq_length: int, hf_mask_spacing: bool = False) -> None:
    """Writes spiece.model, tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    transformers cuts and pads to `max_seq_length` on request. With `hf_mask_spacing` a new word begins behind
    [MASK], as in FNetTokenizer.
    """
    shutil.copyfile(tokenizer_path, os.path.join(folder, SENTENCEPIECE))
    names = {
        "unk_token": SPECIAL_TOKENS[UNK_ID],
        "pad_token": SPECIAL_TOKENS[PAD_ID],
        "cls_token": SPECIAL_TOKENS[CLS_ID],
        "sep_token": SPECIAL_TOKENS[SEP_ID],
        "mask_token": SPECIAL_TOKENS[MASK_ID],
    }
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "token_type_ids"],
        "model_max_length": max_seq_length,
        **names,
    }
    for file_name, values in (
        ("tokenizer.json", tokenizer_json(tokenizer_path, hf_mask_spacing)),
        (TOKENIZER_CONFIG, settings),
        ("special_tokens_map.json", names),
    ):
        with open(os.path.join(folder, file_name), "w", encoding="utf-8") as file:
            json.dump(values, file, ensure_ascii=False, indent=1)


def tokenizer_json(tokenizer_path: str, hf_mask_spacing: bool = False) -> dict[str, Any]:
    """The tokenizer as the library `tokenizers` describes it.

    Raises:
        UserError: if it is neither BPE nor unigram.
    """
    model = _PROTO.ModelProto()
    with open(tokenizer_path, "rb") as file:
        model.ParseFromString(file.read())
    charsmap = base64.b64encode(model.normalizer_spec.precompiled_charsmap).decode()
    metaspace = {
        "type": "Metaspace",
        "replacement": _SPACE,
        # What stands behind [MASK] goes on with its word, unless each part is to begin a word.
        "prepend_scheme": "always" if hf_mask_spacing else "first",
        "split": True,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(i) for i in range(NUM_SPECIAL_IDS)],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                *([{"type": "Precompiled", "precompiled_charsmap": charsmap}] if charsmap else []),
                {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "},
                # Behind [MASK] a space begins a word, at the beginning of a text one is there anyway.
                {"type": "Strip", "strip_left": hf_mask_spacing, "strip_right": True},
            ],
        },
        "pre_tokenizer": metaspace,
        "post_processor": _template(),
        "decoder": metaspace | {"prepend_scheme": "always"},
        "model": _model(model, tokenizer_path),
    }


def _model(model: Any, path: str) -> dict[str, Any]:
    kinds = _PROTO.TrainerSpec
    if model.trainer_spec.model_type == kinds.UNIGRAM:
        scores = [[piece.piece, piece.score if _is_text(piece) else _NEVER] for piece in model.pieces]
        return {"type": "Unigram", "unk_id": UNK_ID, "vocab": scores, "byte_fallback": False}
    if model.trainer_spec.model_type == kinds.BPE:
        return {
            "type": "BPE",
            "unk_token": SPECIAL_TOKENS[UNK_ID],
            "fuse_unk": True,
            "vocab": {piece.piece: i for i, piece in enumerate(model.pieces)},
            "merges": _merges(model),
        }
    raise UserError(f"{path} is neither BPE nor unigram, the kinds of tokenizers that transformers has")


def _merges(model: Any) -> list[list[str]]:
    """Pairs of pieces in the order in which SentencePiece joins them: by the score of what they become."""
    ids = {piece.piece: i for i, piece in enumerate(model.pieces) if _is_text(piece)}
    ranked = sorted(ids, key=lambda text: (-model.pieces[ids[text]].score, ids[text]))
    return [
        [text[:cut], text[cut:]]
        for text in ranked
        for cut in range(1, len(text))
        if text[:cut] in ids and text[cut:] in ids
    ]


def _is_text(piece: Any) -> bool:
    return piece.type == _PROTO.ModelProto.SentencePiece.NORMAL


def _added(token_id: int) -> dict[str, Any]:
    """A special token; [MASK] takes the space before it, which belongs to the token that it hides."""
    return {
        "id": token_id,
        "content": SPECIAL_TOKENS[token_id],
        "single_word": False,
        "lstrip": token_id == MASK_ID,
        "rstrip": False,
        "normalized": False,
        "special": True,
    }


def _template() -> dict[str, Any]:
    """[CLS] A [SEP], and [CLS] A [SEP] B [SEP] with type 1 from B on."""
    cls, sep = SPECIAL_TOKENS[CLS_ID], SPECIAL_TOKENS[SEP_ID]

    def item(kind: str, name: str, type_id: int) -> dict[str, Any]:
        return {kind: {"id": name, "type_id": type_id}}

    single = [item("SpecialToken", cls, 0), item("Sequence", "A", 0), item("SpecialToken", sep, 0)]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, item("Sequence", "B", 1), item("SpecialToken", sep, 1)],
        "special_tokens": {
            name: {"id": name, "ids": [token_id], "tokens": [name]}
            for name, token_id in ((cls, CLS_ID), (sep, SEP_ID))
        },
    }
