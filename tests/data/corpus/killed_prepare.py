"""Run by tests: prepares, says how far it is, and waits to be killed."""

import os
import pickle
import sys
import time

from fnet_jax.data.corpus import parts, prepare, sources, workers

sources._MIN_SHARD_BYTES = int(sys.argv[2])
workers._SMALL_BYTES = 0
save_part = parts._save_manifest
is_first = True


def save_slowly(*args) -> None:
    """A part is done, by this process."""
    save_part(*args)
    print(os.getpid(), flush=True)
    time.sleep(0.3)


def save_first(part, directory, index) -> None:
    """Hangs when the files of the second part are there, but not what says so."""
    global is_first
    if not is_first:
        print(index, flush=True)
        time.sleep(600)
    is_first = False
    save_part(part, directory, index)


parts._save_manifest = save_slowly

if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:
        arguments = pickle.load(file)
    if len(arguments) == 3:
        prepare.prepare(*arguments, num_processes=2, progress=False)
    else:
        parts._save_manifest = save_first
        prepare.prepare_share(*arguments, num_processes=1, progress=False)
