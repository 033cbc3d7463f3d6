"""The command `fnet`: `fnet train --config=...` is `python -m fnet_jax.tools.train --config=...`."""

import runpy
import sys

COMMANDS = {
    "train": "pretrains or fine-tunes a model",
    "eval": "evaluates a checkpoint, or each one as it comes",
    "predict": "asks a trained model: fill a mask, classify, tag, choose, answer, encode",
    "report": "draws and sums up a run",
    "glue": "fine-tunes on all tasks of GLUE, makes the table and the submission",
    "sweep": "trains at each point of a sweep and makes a table",
    "prepare": "prepares the data set of a run ahead of time",
    "train_tokenizer": "trains a SentencePiece tokenizer",
    "convert": "converts models from and to Hugging Face, from the original FNet, to safetensors",
    "export": "exports a model as a program that runs without this project",
    "preflight": "checks what would stop a run before any device time is spent",
    "aot": "compiles the step for a TPU slice without having one",
    "bench": "times parts of this project against each other and against others'",
    "drill": "kills a run many times and checks that nothing is lost; needs a checkout",
}


def main() -> int:
    """Runs the program that the first argument names; the exit code is for a name that is none."""
    name = sys.argv[1].replace("-", "_") if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        del sys.argv[1]
        runpy.run_module(f"fnet_jax.tools.{name}", run_name="__main__", alter_sys=True)
    if name in ("__help", "_h"):
        print("Usage: fnet COMMAND [FLAGS]; fnet COMMAND --help lists the flags.\n")
        print("\n".join(f"    {name:17s}{does}" for name, does in COMMANDS.items()))
        return 0
    print(f"error: name a command, one of {', '.join(COMMANDS)}; found {sys.argv[1:2]}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
