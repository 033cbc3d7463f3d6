"""Against transformers itself; skipped where it is absent, run by `make test-bridge`."""

import json
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnet_jax.bridge import portable, verify
from fnet_jax.bridge.huggingface import folder as huggingface
from fnet_jax.bridge.huggingface import names as huggingface_names
from fnet_jax.bridge.huggingface import tokenizer as huggingface_tokenizer
from fnet_jax.bridge.loaded import flat
from fnet_jax.bridge.name_tables import FileTensor, gather
from fnet_jax.bridge.read import read
from fnet_jax.core.config import Head
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, PAD_ID, SEP_ID
from fnet_jax.data.tokenizer import load_tokenizer, train_tokenizer
from fnet_jax.nn.heads import make_model
from fnet_jax.tasks.features import features
from tests.bridge import goldens
from tests.bridge.made import made
from tests.conftest import run
from tests.data.test_tokenizer import LINES
from tests.made_up import write_table

torch = pytest.importorskip("torch", reason="PyTorch is absent; see make test-bridge")
transformers = pytest.importorskip(
    "transformers", reason="transformers is not installed; see make test-bridge"
)

pytestmark = pytest.mark.filterwarnings("ignore")  # of others

HEADS = typing.get_args(Head)
BASE = {
    "num_layers": 12,
    "d_model": 768,
    "d_emb": 768,
    "d_ff": 3072,
    "num_heads": 12,
    "max_seq_length": 512,
    "vocab_size": 32_000,
}


def initialised(head, **changes):
    """A model with weights of the size that training begins with, so that logits do not grow with depth."""
    loaded = made(head, **changes)
    for path, array in flat(loaded.variables).items():
        if array.ndim > 1 and not path.endswith("scale"):
            array *= 0.1
    return loaded


def open_theirs(folder, head):
    model_class = getattr(transformers, huggingface_names.ARCHITECTURES[head])
    return model_class.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)


@pytest.mark.parametrize("head", HEADS)
def test_what_we_write_loads_whole_and_gives_the_same_logits(head, tmp_path):
    loaded = made(head)
    huggingface.write(loaded, str(tmp_path))
    model, info = open_theirs(tmp_path, head)
    assert not any(info.values()), info
    assert type(transformers.AutoConfig.from_pretrained(tmp_path)) is transformers.FNetConfig
    for length in (6, 7, 16, 24):
        inputs = verify.probe(loaded, length)
        ours, theirs = verify.ours(loaded, inputs), verify.theirs(str(tmp_path), head, inputs)
        assert verify.largest_difference(ours, theirs) < 1e-4
    del model


@pytest.mark.parametrize("head", HEADS)
def test_what_they_write_is_read(head, tmp_path):
    config = transformers.FNetConfig(
        vocab_size=40, hidden_size=12, num_hidden_layers=2, intermediate_size=20, max_position_embeddings=16,
        type_vocab_size=3, num_labels=2 if head == "span" else 3,
    )  # fmt: skip
    torch.manual_seed(0)
    getattr(transformers, huggingface_names.ARCHITECTURES[head])(config).save_pretrained(tmp_path)
    loaded = read(str(tmp_path))
    assert loaded.head == head
    for inputs in verify.probes(loaded):
        inputs = {**inputs, "type_ids": np.minimum(inputs["type_ids"], 2)}
        ours, theirs = verify.ours(loaded, inputs), verify.theirs(str(tmp_path), head, inputs)
        assert verify.largest_difference(ours, theirs) < 1e-4


@pytest.mark.parametrize("head", HEADS)
def test_there_and_back_is_bit_exact(head, tmp_path):
    """Ours, theirs saved by themselves, ours again, in our own names, theirs again."""
    loaded = made(head)
    folders = [tmp_path / name for name in ("ours", "theirs", "portable", "again")]
    for folder in folders:
        folder.mkdir()
    huggingface.write(loaded, str(folders[0]))
    open_theirs(folders[0], head)[0].save_pretrained(folders[1])
    back = read(str(folders[1]))
    portable.write(back, str(folders[2]))
    huggingface.write(read(str(folders[2])), str(folders[3]))
    assert flat(back.variables).keys() == flat(loaded.variables).keys()
    for path, array in flat(loaded.variables).items():
        np.testing.assert_array_equal(flat(back.variables)[path], array)
    states = [open_theirs(folders[i], head)[0].state_dict() for i in (1, 3)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("length", [6, 24])
def test_gradients_of_the_loss(head, length, tmp_path):
    check_gradients(made(head), length, tmp_path)


@pytest.mark.parametrize("head", HEADS)
def test_gradients_of_base(head, tmp_path):
    check_gradients(initialised(head, **BASE), 512, tmp_path)


def check_gradients(loaded, length, folder):
    head = loaded.head
    huggingface.write(loaded, str(folder))
    inputs = verify.probe(loaded, length)
    targets = make_targets(head, inputs)
    found = their_gradients(folder, head, inputs, targets, loaded)
    model = make_model(head, loaded.config.model)

    def loss(params):
        outputs = model.apply({"params": params}, *inputs.values(), deterministic=True)
        return our_loss(jax.tree.leaves(outputs), targets)

    expected = flat(jax.tree.map(np.array, jax.jit(jax.grad(loss))(loaded.variables["params"])))
    # Theirs gives padding no gradient as an input, although it is mixed like any other piece.
    for gradients in (expected, found):
        gradients["encoder/embedder/word/embedding"][PAD_ID] = 0
    assert expected.keys() == found.keys()
    largest = max(np.abs(gradient).max() for gradient in expected.values())
    assert largest > 1e-3
    for path, gradient in expected.items():
        np.testing.assert_allclose(found[path], gradient, rtol=0, atol=1e-3 * largest, err_msg=path)


def make_targets(head, inputs):
    """Class ids for each output that has a loss, [B] or [B, L]; None for the encoder alone."""
    rows, *_, length = inputs["input_ids"].shape
    rng = np.random.default_rng(1)
    predictions = inputs.get("masked_lm_positions", inputs["input_ids"]).shape[-1]
    shapes = {
        "encoder": [], "pretrain": [(rows, predictions), (rows,)], "masked_lm": [(rows, predictions)],
        "tokens": [(rows, length)], "span": [(rows,), (rows,)],
    }.get(head, [(rows,)])  # fmt: skip
    return [rng.integers(0, 2, shape, np.int32) for shape in shapes]


def our_loss(outputs, targets):
    """Mean cross-entropy of each output; for spans half of each, for the encoder a mean of cubes.

    Layer norm leaves a mean of squares nearly constant.
    """
    if not targets:
        return sum(jnp.mean(output**3) for output in outputs)
    losses = []
    for logits, target in zip(outputs, targets, strict=True):
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), target[..., None], axis=-1)
        losses.append(-jnp.mean(chosen))
    is_span = len(outputs) == 2 and outputs[0].shape == outputs[1].shape
    return sum(losses) / (2 if is_span else 1)


def their_gradients(folder, head, inputs, targets, loaded):
    """Of their own loss, in our names and layout."""
    model = open_theirs(folder, head)[0].eval()
    tensors = [torch.from_numpy(target).long() for target in targets]
    labels = {}
    if "masked_lm_positions" in inputs:
        labels["labels"] = torch.full(inputs["input_ids"].shape, -100)
        labels["labels"].scatter_(1, torch.from_numpy(inputs["masked_lm_positions"]).long(), tensors[0])
        if head == "pretrain":
            labels["next_sentence_label"] = tensors[1]
    elif head == "span":
        labels = {"start_positions": tensors[0], "end_positions": tensors[1]}
    elif head != "encoder":
        labels["labels"] = tensors[0]
    ids, types = (torch.from_numpy(inputs[name]).long() for name in ("input_ids", "type_ids"))
    outputs = model(input_ids=ids, token_type_ids=types, **labels)
    if head == "encoder":
        loss = (outputs.last_hidden_state**3).mean() + (outputs.pooler_output**3).mean()
    else:
        loss = outputs.loss
    loss.backward()
    prefix = huggingface_names.PREFIX if head == "encoder" else ""
    gradients = {}
    for name, parameter in model.named_parameters():
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        gradients[prefix + name] = FileTensor(tuple(gradient.shape), "F32", gradient.numpy)
    return gather("gradients", huggingface_names.name_table(head, loaded.config.model), gradients)


@pytest.mark.parametrize("head", HEADS)
def test_base_at_all_lengths(head, tmp_path):
    loaded = initialised(head, **BASE)
    huggingface.write(loaded, str(tmp_path))
    for length in (6, 100, 512):
        inputs = verify.probe(loaded, length)
        ours, theirs = verify.ours(loaded, inputs), verify.theirs(str(tmp_path), head, inputs)
        assert verify.largest_difference(ours, theirs) < 1e-4


def test_the_stored_goldens_are_what_they_compute():
    stored = json.loads(goldens.PATH.read_text())
    found = goldens.make()
    assert stored.keys() == found.keys()
    for name, values in stored.items():
        for one, other in zip(values, found[name], strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5, err_msg=name)


TEXTS = (
    *LINES[:200], "a [MASK]. Then", "[MASK]ing", "play[MASK] x", "[MASK] [MASK]", "  two  spaces ", "",
    "tab\tnew\nline", "na\u00efve e\u0301 \ufb01 \u65e5\u672c\u8a9e \u2460", "x" * 300, "``quoted''",
)  # fmt: skip


@pytest.mark.parametrize("algorithm", ["bpe", "unigram"])
def test_tokenizers_we_write_give_our_ids(algorithm, tmp_path):
    path = str(tmp_path / "x.model")
    check_tokenizer(train_tokenizer(LINES, path, 300, algorithm), path, TEXTS, tmp_path)


def test_the_original_tokenizer_gives_its_ids_there(real_data, tmp_path):
    path = str(real_data / "spm" / "c4_bpe_sentencepiece.model")
    lines = (real_data / "ag_news" / "test.csv").read_text(encoding="utf-8").splitlines()[:1000]
    check_tokenizer(load_tokenizer(path), path, (*TEXTS, *lines), tmp_path)


def check_tokenizer(ours, path, texts, folder):
    for hf_spacing in (False, True):
        huggingface_tokenizer.write(path, str(folder), 64, hf_spacing)
        (folder / "config.json").write_text('{"model_type": "fnet"}')
        theirs = transformers.AutoTokenizer.from_pretrained(folder)
        for text, ids in zip(texts, theirs(list(texts))["input_ids"], strict=True):
            assert ids == [CLS_ID, *ours.encode_masked(text, hf_spacing), SEP_ID], text
    short, long = " ".join(texts[0].split()[:3]), " ".join(texts[:9])
    ids_a, ids_b = ours.encode(short), ours.encode(long)
    cut = {"padding": "max_length", "truncation": "longest_first", "max_length": 63}
    for first, second in ((short, short), (short, long), (long, short), (long, long)):
        pair = theirs(first, second, **cut, return_tensors="np")
        input_ids_L, type_ids_L = features(ours.encode(first), ours.encode(second), 63, "longest_first")
        assert pair.keys() == {"input_ids", "token_type_ids"}
        np.testing.assert_array_equal(pair["input_ids"][0], input_ids_L)
        np.testing.assert_array_equal(pair["token_type_ids"][0], type_ids_L)
    # Of an odd number of places the longer half is the first text's here, the second one's there.
    pair = theirs(long, long, truncation="longest_first", max_length=64)["token_type_ids"]
    assert (pair.count(0), pair.count(1)) == (1 + 30 + 1, 31 + 1)
    assert features(ids_b, ids_b, 64, "longest_first")[1].sum() == 30 + 1
    assert theirs.decode(ids_a) == ours.decode(ids_a)
    assert (theirs.pad_token_id, theirs.mask_token_id, theirs.model_max_length) == (PAD_ID, MASK_ID, 64)


def test_a_run_that_was_fine_tuned_here_says_the_same_there(tmp_path):
    write_table(tmp_path / "things.csv")
    trained = run(
        "python", "train.py", f"--config=configs/classify.py:data={tmp_path}/things.csv,smoke",
        f"--workdir={tmp_path}/w", "--config.model.pooling=first", "--config.data.tokenizer_pieces=100",
        "--config.train.num_train_steps=60",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    evaluated = run("python", "eval.py", f"--workdir={tmp_path}/w")
    assert evaluated.returncode == 0, evaluated.stderr
    converted = run(
        "python",
        "-m",
        "fnet_jax.tools.convert",
        "--from=fnet_jax",
        f"--src={tmp_path}/w",
        f"--dst={tmp_path}/t",
    )
    assert converted.returncode == 0, converted.stderr
    (predictions,) = tmp_path.glob("w/predictions-*.jsonl")
    rows = [json.loads(line) for line in predictions.read_text().splitlines()]
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "t")
    model = transformers.FNetForSequenceClassification.from_pretrained(tmp_path / "t").eval()
    with torch.no_grad():
        texts = [row["text"] for row in rows]
        batch = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt")
        probabilities = model(**batch).logits.softmax(-1).numpy()
    names = [model.config.id2label[i] for i in range(2)]
    expected = [[row["scores"][name] for name in names] for row in rows]
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert len({row["prediction"] for row in rows}) == 2
