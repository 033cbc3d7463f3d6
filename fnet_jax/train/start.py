"""How a run begins: the state to go on from, and what is left in the workdir for others."""

import filecmp
import os
import shutil

from fnet_jax.core import config_dict
from fnet_jax.core.errors import UserError
from fnet_jax.core.files import atomic_file
from fnet_jax.core.workdir import TOKENIZER_FILE, save_config, saved_config
from fnet_jax.runtime import hosts
from fnet_jax.train.checkpoint import Checkpointer
from fnet_jax.train.recovery import restore_newest
from fnet_jax.train.setup import Setup
from fnet_jax.train.state import TrainState, create_state
from fnet_jax.train.warm_start import with_pretrained_encoder, with_pretrained_modules


def initial_state(setup: Setup, workdir: str, checkpointer: Checkpointer) -> tuple[TrainState, int]:
    """The state to go on from.

    1. The workdir has a checkpoint that is whole: resume it, whatever `init_from` says.
    2. `init_from` is set: fresh optimizer and step 0, params from there; a labelled task takes the
       encoder alone, and so does pretraining from a labelled task. Pretraining from another one takes
       what both have.
    3. Otherwise: random parameters.
    """
    found = restore_newest(checkpointer, setup.abstract)
    if found is not None:
        hosts.print_once(f"resume: {checkpointer.folder(found[1])}")
        return found
    if not setup.config.init_from:
        return create_state(setup.abstract, setup.objective, setup.optimizer, setup.config.seed), 0
    state = create_state(setup.abstract, setup.objective, setup.optimizer, setup.config.seed)
    if not setup.config.is_pretraining:
        state, said = with_pretrained_encoder(setup.config, state)
    else:
        state, said = with_pretrained_modules(setup.config, state)
    hosts.print_once(said)
    return state, 0


def leave_config(setup: Setup, workdir: str) -> None:
    """Leaves the resolved config and the tokenizer in the workdir; says what changed since the last start.

    Raises:
        UserError: if they cannot be written; those of the last start are still there then.
    """

    def leave() -> None:
        saved = saved_config(workdir)
        for line in config_dict.differences(saved, setup.config) if saved else []:
            print(f"config changed since the last start: {line}")
        try:
            _copy(setup.dataset.tokenizer_path, os.path.join(workdir, TOKENIZER_FILE))
            save_config(setup.config, workdir)
        except OSError as error:
            raise UserError(
                f"--workdir={workdir} cannot be written ({error.strerror}); make room or name another folder"
            ) from error

    hosts.run_on_primary(leave, "leave the config in the workdir")


def _copy(source: str, target: str) -> None:
    """Whole or not at all; not where it is there already."""
    if os.path.exists(target) and filecmp.cmp(source, target, shallow=False):
        return
    with open(source, "rb") as model, atomic_file(target) as file:
        shutil.copyfileobj(model, file)
