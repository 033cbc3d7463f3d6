"""Run by test_prepare.py: prepares slowly, says when a shard is done and by whom, and waits to be killed."""

import os
import pickle
import sys
import time

from fnet_jax.data import parts, prepare, sources

sources._MIN_SHARD_BYTES = int(sys.argv[2])
parts._SMALL_BYTES = 0
save_part = parts._save_part


def save_slowly(*args) -> None:
    save_part(*args)
    print(os.getpid(), flush=True)
    time.sleep(0.3)


parts._save_part = save_slowly

if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        data, max_seq_length, directory = pickle.load(file)
    prepare.prepare(data, max_seq_length, directory, num_processes=2, progress=False)
