"""Preflight on a host that differs from the others where it is process 1: started by `test_preflight.py`."""

import os

from absl import flags

from fnet_jax.runtime import cli, distributed, hosts
from fnet_jax.tools.preflight import __main__ as preflight


def main(argv):
    if flags.FLAGS.process_id == 1:
        versions = distributed.versions()
        distributed.versions = lambda: {**versions, "version of grain": "another"}
        elsewhere = os.path.exists

        def exists(path):
            hidden = str(path).endswith("dataset.json") or os.path.basename(path).startswith(".seen-")
            return not hidden and elsewhere(path)

        os.path.exists = exists
    code = preflight.main(argv)
    assert hosts.count() == 2
    return code


if __name__ == "__main__":
    cli.define_run_flags()
    distributed.define_flags()
    flags.DEFINE_string("topology", None, "")
    cli.run(main)
