"""Trains a model: the program is `fnet_jax/tools/train.py`, started from a checkout."""

import runpy

if __name__ == "__main__":
    runpy.run_module("fnet_jax.tools.train", run_name="__main__", alter_sys=True)
