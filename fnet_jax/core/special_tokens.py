"""The special tokens and their ids, the layout of the original vocabulary.

`data/tokenizer.py` refuses a model that places them elsewhere, so the rest of the code may use these
constants. Nothing is imported here: who only prepares data needs no JAX.
"""

UNK_ID, BOS_ID, EOS_ID, PAD_ID, CLS_ID, SEP_ID, MASK_ID = range(7)
SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>", "[CLS]", "[SEP]", "[MASK]")
NUM_SPECIAL_IDS = len(SPECIAL_TOKENS)
MASK_TEXT = SPECIAL_TOKENS[MASK_ID]
