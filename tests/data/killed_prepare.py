"""Run by tests: prepares slowly, says when a part is done and by whom, and waits to be killed."""

import os
import pickle
import sys
import time

from fnet_jax.data import parts, prepare, sources, work

sources._MIN_SHARD_BYTES = int(sys.argv[2])
work._SMALL_BYTES = 0
save_part = parts._save_part


def save_slowly(*args) -> None:
    save_part(*args)
    print(os.getpid(), flush=True)
    time.sleep(0.3)


parts._save_part = save_slowly

if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        arguments = pickle.load(file)
    begin = prepare.prepare_shard if len(arguments) > 3 else prepare.prepare
    begin(*arguments, num_processes=2, progress=False)
