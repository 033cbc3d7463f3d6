"""A small objective and random batches for tests of the step, without any data set."""

import jax
import ml_collections
import numpy as np

from fnet_jax.configs import pretrain
from fnet_jax.core import config_dict
from fnet_jax.core.batch import Batch
from fnet_jax.core.config import Config
from fnet_jax.core.mesh import batch_sharding, create_mesh, replicated
from fnet_jax.core.special_tokens import CLS_ID, MASK_ID, NUM_SPECIAL_IDS, PAD_ID, SEP_ID
from fnet_jax.tasks.kinds import make_objective
from fnet_jax.train.optim import make_optimizer, make_schedule
from fnet_jax.train.state import TrainState, abstract_state, create_state
from fnet_jax.train.step import make_train_step

VOCAB = 96


def config(**overrides: object) -> Config:
    """The smoke config with a toy vocabulary; keys with `__` for the dot."""
    c: ml_collections.ConfigDict = pretrain.get_config("smoke")
    c.model.vocab_size = VOCAB
    c.model.num_layers = 2
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in overrides.items()})
    return config_dict.parse(c)


def random_batch(cfg: Config, batch_size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A well-formed batch of random pieces; rows differ in length and in number of predictions."""
    rng = np.random.default_rng(seed)
    spec = make_objective(cfg).batch_spec(batch_size)
    batch = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in spec.items()}
    length, predictions = cfg.model.max_seq_length, cfg.data.max_predictions_per_seq
    batch["input_ids"][:] = PAD_ID
    for row in range(batch_size):
        used = int(rng.integers(length // 2, length + 1))
        ids = rng.integers(NUM_SPECIAL_IDS, VOCAB, used)
        ids[0], ids[used // 2], ids[-1] = CLS_ID, SEP_ID, SEP_ID
        count = int(rng.integers(1, min(predictions, used // 2 - 1) + 1))
        positions = np.sort(rng.choice(np.arange(1, used // 2), count, replace=False))
        batch["masked_lm_positions"][row, :count] = positions
        batch["masked_lm_ids"][row, :count] = ids[positions]
        batch["masked_lm_weights"][row, :count] = 1.0
        ids[positions] = MASK_ID
        batch["input_ids"][row, :used] = ids
        batch["type_ids"][row, used // 2 + 1 : used] = 1
    batch["next_sentence_labels"][:] = rng.integers(0, 2, batch_size)
    batch["example_weights"][:] = 1.0
    return batch


def head_batch(cfg: Config, batch_size: int, seed: int = 0) -> dict[str, np.ndarray]:
    """A batch of random pieces and labels for the task of the config, whichever it is."""
    if cfg.task == "pretrain":
        return random_batch(cfg, batch_size, seed)
    rng = np.random.default_rng(seed)
    spec = make_objective(cfg).batch_spec(batch_size)
    batch = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in spec.items()}
    length, classes = cfg.model.max_seq_length, max(cfg.model.num_outputs, 2)
    batch["input_ids"][:] = rng.integers(NUM_SPECIAL_IDS, VOCAB, batch["input_ids"].shape)
    batch["input_ids"][..., 0], batch["input_ids"][..., -2:] = CLS_ID, PAD_ID
    batch["example_weights"][:-1] = 1.0  # the last row is filled up
    for name, field in batch.items():
        if name == "labels":
            field[:] = rng.integers(0, classes, field.shape)
        elif name == "label_weights":
            field[:-1] = rng.integers(0, 2, field[:-1].shape)
        elif name in ("start_positions", "end_positions"):
            field[:] = rng.integers(0, length - 2, field.shape)
        elif name == "masked_lm_positions":
            field[:] = np.arange(1, field.shape[1] + 1)
    if "masked_lm_ids" in batch:
        taken = np.take_along_axis(batch["input_ids"], batch["masked_lm_positions"], axis=1)
        batch["masked_lm_ids"][:], batch["masked_lm_weights"][:-1] = taken, 1.0
        np.put_along_axis(batch["input_ids"], batch["masked_lm_positions"], MASK_ID, axis=1)
    return batch


class Trainer:
    """State and step of one config on a mesh."""

    def __init__(self, cfg: Config, num_devices: int = 1, **mesh: int):
        self.mesh = create_mesh(**mesh, devices=jax.devices()[:num_devices])
        objective = make_objective(cfg)
        optimizer = make_optimizer(cfg.optim, cfg.train.num_train_steps)
        schedule = make_schedule(cfg.optim, cfg.train.num_train_steps)
        step = make_train_step(objective, optimizer, schedule, cfg.seed, cfg.train.gradient_accum_steps)
        with jax.set_mesh(self.mesh):
            abstract = abstract_state(self.mesh, objective, optimizer)
            shardings = jax.tree.map(lambda leaf: leaf.sharding, abstract)
            self.step = jax.jit(step, out_shardings=(shardings, replicated(self.mesh)))
            self._compiled: dict[int, jax.stages.Compiled] = {}  # by size of the batch
            self.state: TrainState = create_state(abstract, objective, optimizer, cfg.seed)

    def put(self, batch: dict[str, np.ndarray]) -> Batch:
        """The batch on the mesh."""
        return jax.device_put(batch, batch_sharding(self.mesh))

    def train(self, batch: dict[str, np.ndarray], steps: int = 1) -> dict[str, float]:
        """Takes steps on the same batch; returns the means of the last one."""
        step = self.compiled(batch)
        for _ in range(steps):
            self.state, sums = step(self.state, self.put(batch))
        return {name: float(total) / float(weight) for name, (total, weight) in sums.items()}

    def hlo(self, batch: dict[str, np.ndarray]) -> str:
        """The compiled step as text."""
        return self.compiled(batch).as_text()

    def compiled(self, batch: dict[str, np.ndarray]) -> jax.stages.Compiled:
        """The step for batches of this size."""
        size = len(batch["input_ids"])
        if size not in self._compiled:
            with jax.set_mesh(self.mesh):
                self._compiled[size] = self.step.lower(self.state, self.put(batch)).compile()
        return self._compiled[size]
