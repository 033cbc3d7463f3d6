"""Uses a trained model: python -m fnet_jax.tools.predict fill-mask --model=W "The man worked as a [MASK]."

With --held_out=N instead of texts: fills one hidden word in each of N examples of the held-out split.
"""

from collections.abc import Sequence

from absl import flags

from fnet_jax.core import cli
from fnet_jax.core.errors import UserError
from fnet_jax.core.pieces import MASK_ID, SPECIAL_PIECES
from fnet_jax.core.workdir import CONFIG_FILE, saved_config

COMMANDS = ("fill-mask",)
MASK_TEXT = SPECIAL_PIECES[MASK_ID]

flags.DEFINE_string("model", None, "Workdir of a trained model.")
flags.DEFINE_integer("step", None, "Step of the checkpoint; the newest by default.")
flags.DEFINE_integer("top_k", 5, "Guesses per [MASK].", lower_bound=1)
flags.DEFINE_integer("held_out", 0, "Fill this many held-out examples instead of given texts.", lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Prints the guesses for each text."""
    flag = flags.FLAGS
    command, texts = argv[1:2], list(argv[2:])
    if command != ["fill-mask"]:
        raise UserError(f"command {' '.join(command)!r} is unknown; valid: {', '.join(COMMANDS)}")
    if not flag.model:
        raise UserError("--model is not given; name the workdir of a trained model")
    if not texts and not flag.held_out:
        raise UserError('no text is given; add one with [MASK] in it, such as "The man worked as a [MASK]."')
    for text in texts:
        if MASK_TEXT not in text:
            raise UserError(f"text {text!r} has no {MASK_TEXT}; put it where a word is to be guessed")
    config = saved_config(flag.model)
    if config is None:
        raise UserError(f"--model={flag.model} holds no {CONFIG_FILE}; name the --workdir of a training run")

    from fnet_jax.train.fill_mask import Filled, MaskFiller, show

    filler = MaskFiller(config, flag.model, flag.step)
    filled = filler.held_out(flag.held_out, flag.top_k) if flag.held_out else []
    for text in texts:
        filled += [Filled(text, "", guesses) for guesses in filler.fill(text, flag.top_k)]
    print(show(filled))


if __name__ == "__main__":
    cli.run(main, positional=True)
