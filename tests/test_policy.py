"""Rules that no single module can hold."""

import ast
import re
import textwrap
import typing

import jax
import pytest

from fnet_jax.configs import answer, choose, classify, glue, pretrain, tag
from fnet_jax.core import config_dict
from fnet_jax.core.checks import check_mesh
from fnet_jax.core.config import PRETRAINING, Config, Layout, Mixer
from fnet_jax.core.keys import declared
from fnet_jax.core.mesh import create_mesh
from fnet_jax.tasks.kinds import make_objective
from fnet_jax.tasks.table import GLUE, TASKS
from fnet_jax.train.optim import make_optimizer, make_schedule
from fnet_jax.train.state import abstract_state
from fnet_jax.train.step import make_train_step
from tests.conftest import REPOSITORY
from tests.core.config_reads import keys_read

OWN_CONFIGS = {"tag": tag, "choose": choose, "answer": answer}  # a task, and the config of its name
SOURCES = sorted((REPOSITORY / "fnet_jax").rglob("*.py"))


@pytest.mark.parametrize("name", ["", "-beam", "-bridge", "-onnx"])
def test_pinned_files_have_every_requirement(name):
    """`make lock` was not forgotten after one was added."""
    wanted, pinned = (
        set(re.findall(r"^([a-z0-9-]+)[^#\n]*==", path.read_text().lower().replace("_", "-"), re.MULTILINE))
        for path in (REPOSITORY / "requirements.in", REPOSITORY / f"requirements{name}.txt")
    )
    assert len(wanted) > 10 and not wanted - pinned


def test_every_config_key_is_read():
    """A key that nothing reads is a promise not kept; setting or checking it is not reading it."""
    not_reading = ("core/config.py", "core/checks.py")
    readers = [
        path for path in SOURCES if path.parent.name != "configs" and not str(path).endswith(not_reading)
    ]
    read = keys_read(ast.parse(path.read_text()) for path in readers)
    assert not {key.name for key in declared(Config)} - read


def test_reading_something_else_of_that_name_does_not_count():
    source = """
        def train(config: Config, batch):
            data, batch.model.remat = config.data, True
            print(batch.data.dir, data.corpus, batch.seed, config.train.log_frequency)
        """
    read = keys_read([ast.parse(textwrap.dedent(source))])
    assert read == {"data", "data.corpus", "train", "train.log_frequency"}


def shipped() -> list[str]:
    args = [f"size={size}" for size in pretrain.RECIPES]
    args += [f"size=small,mixer={mixer}" for mixer in typing.get_args(Mixer)]
    args += [f"size=tiny,task={task}" for task in PRETRAINING[1:]]
    return [*args, "smoke"]


@pytest.mark.parametrize("arg", shipped())
def test_every_shipped_config_traces(arg):
    """A whole training step, as shapes: all wiring and no arithmetic."""
    c = pretrain.get_config(arg)
    c.model.vocab_size = c.data.tokenizer_pieces
    trace(config_dict.parse(c))


@pytest.mark.parametrize("task", TASKS)
def test_every_labelled_task_traces(task):
    if task in OWN_CONFIGS:
        c = OWN_CONFIGS[task].get_config("size=tiny")
    else:
        c = (glue if task in GLUE else classify).get_config(f"task={task},size=tiny")
    c.model.vocab_size = 99
    c.model.num_outputs = TASKS[task].num_outputs(["a", "b", "c"])
    trace(config_dict.parse(c))


@pytest.mark.parametrize("layout", typing.get_args(Layout))
def test_every_hybrid_traces(layout):
    c = pretrain.get_config("smoke")
    overrides = {"model.num_attention_layers": 2, "model.attention_layout": layout}
    c.update_from_flattened_dict({**overrides, "model.vocab_size": 99, "model.remat": True})
    trace(config_dict.parse(c, overrides))


def trace(config: Config) -> None:
    mesh = create_mesh(devices=jax.devices()[:1])
    check_mesh(config, mesh.shape)
    objective = make_objective(config)
    optimizer = make_optimizer(config.optim, config.train.num_train_steps)
    schedule = make_schedule(config.optim, config.train.num_train_steps)
    with jax.set_mesh(mesh), jax.numpy_dtype_promotion("standard"):
        state = abstract_state(mesh, objective, optimizer)
        step = make_train_step(objective, optimizer, schedule, config.seed, config.train.gradient_accum_steps)
        after, sums = jax.eval_shape(step, state, objective.batch_spec(config.train.train_batch_size))
    shape = lambda leaf: (leaf.shape, leaf.dtype)  # noqa: E731
    assert jax.tree.map(shape, after) == jax.tree.map(shape, state)
    assert {leaf.shape for leaf in jax.tree.leaves(sums)} == {()}
