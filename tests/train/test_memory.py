"""What is said of the layout is how the arrays lie."""

import jax

from fnet_jax.train.memory import bytes_per_device, describe_layout, memory_of, peak_bytes, show_bytes
from tests.train.synthetic import Trainer, config, random_batch


def first_device_bytes(tree):
    shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]
    return sum(shard.data.nbytes for shard in shards if shard.device == jax.devices()[0])


def test_divided_state():
    trainer = Trainer(config(), 8, data=2, fsdp=2, tensor=2)
    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in describe_layout(trainer.state)[1:]}
    assert len(lines) == len(jax.tree.leaves(dict(trainer.state.variables)))
    assert lines["encoder/embedder/word/embedding"] == "96 x 32 tensor fsdp 3.0 KiB"
    assert lines["encoder/embedder/layer_norm/scale"] == "32 whole 128 B"
    for tree in (trainer.state.variables, trainer.state.opt_state):
        assert bytes_per_device(tree) == first_device_bytes(tree)
    whole = Trainer(config(), 1).state
    assert bytes_per_device(trainer.state.opt_state) < bytes_per_device(whole.opt_state) / 2


def test_memory_of_the_step():
    cfg = config()
    trainer = Trainer(cfg, 8, data=8)
    batch = random_batch(cfg, 8)
    step = trainer.compiled(batch)
    state = bytes_per_device(trainer.state.variables) + bytes_per_device(trainer.state.opt_state)
    assert state < peak_bytes(step, "cpu")
    line = memory_of(step, trainer.state, trainer.put(batch)).describe()
    assert f"parameters {show_bytes(bytes_per_device(trainer.state.variables))}, " in line
    assert line.endswith(f"{show_bytes(peak_bytes(step, 'cpu'))} at most")


def test_sizes_for_a_person():
    shown = [show_bytes(size) for size in (12, 3 * 2**10, 2.5 * 2**20, 2**34)]
    assert shown == ["12 B", "3.0 KiB", "2.5 MiB", "16.0 GiB"]
