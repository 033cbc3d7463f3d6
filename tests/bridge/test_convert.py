"""Workdirs and portable folders; the tool, from command line to files that open."""

import json
import os
import re
import typing

import jax
import numpy as np
import optax
import pytest
from flax.serialization import msgpack_restore

from fnet_jax.bridge import convert, portable, verify, workdirs
from fnet_jax.bridge.google import checkpoint as google
from fnet_jax.bridge.huggingface import folder as huggingface
from fnet_jax.bridge.loaded import flat
from fnet_jax.bridge.read import read
from fnet_jax.core.config import Head, Mixer
from fnet_jax.core.errors import MachineError, UserError
from fnet_jax.data.tokenizer import train_tokenizer
from fnet_jax.train.checkpoints.checkpointer import Checkpointer
from fnet_jax.train.concrete import facts_without_data
from fnet_jax.train.setup import set_up
from fnet_jax.train.start import restore_newest
from tests.bridge.google.original_checkpoint import optimizer_tree
from tests.bridge.google.original_checkpoint import write as write_original
from tests.bridge.huggingface.test_huggingface import assert_same_variables
from tests.bridge.made import TINY, made
from tests.conftest import command, run
from tests.data.conftest import make_documents

HEADS = typing.get_args(Head)
TOOL = ("python", "-m", "fnet_jax.tools.convert")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "x.model"
    lines = [line for text in make_documents(60) for line in text.splitlines()]
    train_tokenizer(lines, str(path), 300)
    return path


@pytest.mark.parametrize("head", HEADS)
def test_portable_folders_hold_every_head(head, tmp_path):
    loaded = made(head)
    portable.write(loaded, str(tmp_path))
    back = read(str(tmp_path))
    assert_same_variables(loaded, back)
    assert (back.head, back.config) == (head, loaded.config)


@pytest.mark.parametrize("mixer", typing.get_args(Mixer))
def test_portable_folders_and_workdirs_hold_every_mixer(mixer, tmp_path):
    loaded = made("pretrain", mixer=mixer, num_attention_layers=1, d_emb=8)
    for module, name in ((portable, "portable"), (workdirs, "workdir")):
        (tmp_path / name).mkdir()
        module.write(loaded, str(tmp_path / name))
        back = read(str(tmp_path / name))
        assert_same_variables(loaded, back)
        assert back.variables.keys() == loaded.variables.keys()


@pytest.mark.parametrize("head", ["encoder", "span"])
def test_workdirs_know_their_head(head, tmp_path):
    loaded = made(head)
    workdirs.write(loaded, str(tmp_path))
    back = read(str(tmp_path))
    assert_same_variables(loaded, back)
    assert (back.head, back.config) == (head, loaded.config)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (3, "model=3 must be a section"),
        ({"d_model": 10**18}, "model.d_model=1000000000000000000 must be 2**24 or less"),
        ({"num_layers": 2**23, "d_ff": 2**23}, "and not [8388608, 16, 8388608]"),
        ({"mixer": "../fourier"}, "model.mixer='../fourier' is unknown"),
        ({"__class__": 1}, "model.__class__ is unknown"),
    ],
)
def test_portable_configs_that_are_refused(tmp_path, section, says):
    portable.write(made("masked_lm"), str(tmp_path))
    values = json.loads((tmp_path / "config.json").read_text())
    values["model"] = values["model"] | section if isinstance(section, dict) else section
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=re.escape(says)):
        read(str(tmp_path))


def test_portable_folders_are_checked_like_others(tmp_path):
    portable.write(made("masked_lm"), str(tmp_path))
    values = json.loads((tmp_path / "config.json").read_text())
    values["model"]["d_ff"] = 7
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=re.escape("kernel has shape [3, 16, 24] and not [3, 16, 7]")):
        read(str(tmp_path))


@pytest.mark.parametrize("target", ["workdir", "huggingface", "fnet_jax"])
def test_every_target_is_verified(target, tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    portable.write(made("sequence"), str(tmp_path / "src"))
    request = convert.Conversion("fnet_jax", str(tmp_path / "src"), target, str(tmp_path / target))
    loaded, (said,) = convert.convert(request, with_verify=True)
    difference = float(re.search(r"differ by (\S+) at most", said)[1])
    assert difference <= 1e-4 if verify.can_run_theirs() else difference == 0
    assert_same_variables(loaded, read(str(tmp_path / target)))


def test_what_differs_is_not_left_there(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    portable.write(made("sequence"), str(tmp_path / "src"))
    request = convert.Conversion("fnet_jax", str(tmp_path / "src"), "fnet_jax", str(tmp_path / "dst"))
    write = portable.write
    monkeypatch.setattr(portable, "write", lambda loaded, folder: write(made("sequence", seed=1), folder))
    with pytest.raises(MachineError, match=r"more than 0\.0001; nothing was written"):
        convert.convert(request, with_verify=True)
    assert sorted(os.listdir(tmp_path)) == ["src"]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "src").mkdir()
    portable.write(made("encoder"), str(tmp_path / "src"))

    def write(loaded, folder):
        (tmp_path / os.path.basename(folder) / "half").write_text("written")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(portable, "write", write)
    request = convert.Conversion("fnet_jax", str(tmp_path / "src"), "fnet_jax", str(tmp_path / "dst"))
    with pytest.raises(MachineError, match=r"could not be written .*No space left"):
        convert.convert(request)
    assert sorted(os.listdir(tmp_path)) == ["src"]


def test_the_published_outputs_are_recognised(monkeypatch):
    """With weights that give other outputs they are not; here other outputs are published."""
    loaded = made("pretrain", max_seq_length=512, vocab_size=60)
    assert not verify.has_published_shape(loaded)
    monkeypatch.setattr(verify, "_PUBLISHED_SHAPE", {"vocab_size": 60, "mixer": "fourier"})
    assert verify.has_published_shape(loaded)
    assert verify.published_difference(loaded) > 0.1
    ids = np.arange(6, dtype=np.int32)[None]
    inputs = {"input_ids": ids, "type_ids": 0 * ids, "masked_lm_positions": ids}
    masked_lm, next_sentence = verify.ours(loaded, inputs)
    published = {"masked_lm": masked_lm[0, :3, :3].tolist(), "next_sentence": next_sentence.tolist()}
    monkeypatch.setattr(verify, "_PUBLISHED", published)
    assert verify.published_difference(loaded) < 1e-5
    assert set(verify._PUBLISHED) == {"masked_lm", "next_sentence"}


def test_a_tokenizer_must_have_the_pieces_of_the_model(tokenizer, tmp_path):
    (tmp_path / "src").mkdir()
    portable.write(made("pretrain"), str(tmp_path / "src"))
    request = convert.Conversion(
        "fnet_jax", str(tmp_path / "src"), "huggingface", str(tmp_path / "dst"), tokenizer=str(tokenizer)
    )
    with pytest.raises(UserError, match="has 300 pieces, the model 50"):
        convert.convert(request)
    assert sorted(os.listdir(tmp_path)) == ["src"]


def test_nan_is_no_agreement():
    one, nan = np.zeros((2, 3)), np.full((2, 3), np.nan)
    assert np.isnan(verify.largest_difference([one, one], [one, nan]))
    assert np.isnan(verify.largest_difference([one, one], [nan, one]))
    assert verify.largest_difference([one], [np.zeros((1, 3))]) == np.inf


def test_the_original_s_optimizer_goes_on_here(tmp_path):
    """Its moments and its step, in a state that a run of ours restores."""
    loaded = made("pretrain", mixer="linear")
    google.write(loaded, str(tmp_path / "params"))
    tree = msgpack_restore((tmp_path / "params").read_bytes())["target"]
    write_original(tmp_path / "linear_checkpoint", optimizer_tree(tree, 7, lambda a: (a + 1, a**2)))
    src, dst = str(tmp_path / "linear_checkpoint"), str(tmp_path / "w")
    converted, _ = convert.convert(convert.Conversion("google", src, "workdir", dst, keep_optimizer=True))
    config = converted.config
    setup = set_up(config, devices=jax.devices()[:1], facts=facts_without_data(config))
    checkpointer = Checkpointer(dst, read_only=True)
    state = checkpointer.restore(checkpointer.latest(), setup.abstract)
    checkpointer.close()
    assert int(state.step) == 7
    assert {int(count) for _, count in optax.tree.get_all_with_path(state.opt_state, "count")} == {7}
    for path, array in flat(loaded.variables["params"]).items():
        np.testing.assert_array_equal(flat(optax.tree.get(state.opt_state, "mu"))[path], array + 1)
        np.testing.assert_array_equal(flat(optax.tree.get(state.opt_state, "nu"))[path], array**2)


def test_no_run_goes_on_without_an_optimizer(tmp_path):
    loaded = made("pretrain")
    workdirs.write(loaded, str(tmp_path))
    setup = set_up(loaded.config, devices=jax.devices()[:1], facts=facts_without_data(loaded.config))
    checkpointer = Checkpointer(str(tmp_path), read_only=True)
    with pytest.raises(UserError, match=re.escape(f"a fresh --workdir with --config.init_from={tmp_path}")):
        restore_newest(checkpointer, setup.abstract)
    checkpointer.close()


# The tool.


@pytest.fixture(scope="module")
def theirs(tmp_path_factory, tokenizer):
    """A folder of transformers, for masked LM and next sentence."""
    folder = tmp_path_factory.mktemp("theirs")
    huggingface.write(made("pretrain", vocab_size=300, max_seq_length=32, tokenizer=tokenizer), str(folder))
    return folder


def test_from_transformers_to_a_workdir_that_everything_opens(theirs, overrides, tmp_path):
    dst = tmp_path / "w"
    result = run(*TOOL, "--from=huggingface", f"--src={theirs}", f"--dst={dst}", "--verify")
    assert result.returncode == 0, result.stderr
    assert "pretrain, " in result.stdout and f"--config.init_from={dst}" in result.stdout
    assert "0.0e+00 at most" in result.stdout or verify.can_run_theirs()
    loaded = read(str(dst))
    assert_same_variables(loaded, read(str(theirs)))
    assert loaded.config.data.tokenizer == str(dst / "tokenizer.model")
    corpus = f"--config.data.corpus={overrides['data.corpus']}"
    smoke = ["--config=configs/pretrain.py:smoke", corpus, f"--config.data.tokenizer={dst}/tokenizer.model"]
    shape = [f"--config.model.{key}={TINY[key]}" for key in ("num_layers", "d_model", "d_emb", "d_ff")]
    evaluated = run("python", "eval.py", *smoke, *shape, f"--workdir={dst}")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "masked LM accuracy" in evaluated.stdout
    trained = run(
        "python", "train.py", *smoke, *shape, f"--workdir={tmp_path}/t", f"--config.init_from={dst}",
        "--config.train.num_train_steps=2", "--config.optim.num_warmup_steps=1",
        f"--config.data.dir={dst}/data",
    )  # fmt: skip
    assert trained.returncode == 0, trained.stderr
    assert f"warm start: parameters of step 0 of {dst}" in trained.stdout


def test_a_run_becomes_a_folder_of_transformers(overrides, tmp_path):
    trained = run(*command("train.py", overrides, f"--workdir={tmp_path}/w"))
    assert trained.returncode == 0, trained.stderr
    result = run(*TOOL, "--from=fnet_jax", f"--src={tmp_path}/w", f"--dst={tmp_path}/theirs")
    assert result.returncode == 0, result.stderr
    assert f"FNetForPreTraining.from_pretrained('{tmp_path}/theirs')" in result.stdout
    assert sorted(os.listdir(tmp_path / "theirs")) == [
        "config.json", "model.safetensors", "special_tokens_map.json", "spiece.model", "tokenizer.json",
        "tokenizer_config.json",
    ]  # fmt: skip
    assert_same_variables(read(str(tmp_path / "w")), read(str(tmp_path / "theirs")))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--src=S", "--dst=D"], "--from is not given"),
        (["--from=huggingface", "--dst=D"], "--src is not given"),
        (["--from=huggingface", "--src=S"], "--dst is not given"),
        (["--from=torch", "--src=S", "--dst=D"], "huggingface"),
        (["--from=huggingface", "--src=/nowhere", "--dst=D"], "--src=/nowhere does not exist"),
        (["--from=huggingface", "--src=S", "--dst=D", "--step=3"], "with --from=fnet_jax only"),
        (
            ["--from=huggingface", "--src=S", "--dst=D", "--hf-mask-spacing"],
            "--hf_mask_spacing has an effect with --to=huggingface only",
        ),
        (["--from=huggingface", "--src=S", "--dst=S"], "is there already; name a new folder"),
    ],
)
def test_wrong_flags_are_one_line_and_leave_nothing(args, says, theirs, tmp_path):
    args = [arg.replace("=S", f"={theirs}").replace("=D", f"={tmp_path}/d") for arg in args]
    result = run(*TOOL, *args)
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert says in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("source", "changes", "says"),
    [
        ("huggingface", {"dst": "/proc/x"}, "--dst=/proc/x cannot be written"),
        ("huggingface", {"tokenizer": "/none"}, "'/none' cannot be read"),
        ("fnet_jax", {"src": "/none"}, "/none is no folder"),
        ("google", {}, "holds no file checkpoint_STEP"),
    ],
)
def test_wrong_requests_leave_nothing(source, changes, says, theirs, tmp_path):
    values = {"source": source, "src": str(theirs), "target": "workdir", "dst": str(tmp_path / "d")}
    with pytest.raises(UserError, match=re.escape(says)):
        convert.convert(convert.Conversion(**(values | changes)))
    assert not list(tmp_path.iterdir())
