"""What processes tell each other, without any training: started by `test_start.py`."""

import json
import os
import sys

from absl import flags

from fnet_jax.core.errors import UserError
from fnet_jax.runtime import cli, distributed, hosts, lock

distributed.define_flags()
flags.DEFINE_string("folder", None, "Seen by all.")
flags.DEFINE_string("story", "talk", "talk, differ, fail or lock.")


def main(argv):
    flag = flags.FLAGS
    named = (flag.coordinator_address, flag.num_processes, flag.process_id)
    distributed.start(*named, flag.distributed == "auto", flag.init_timeout_s, flag.heartbeat_timeout_s)
    if flag.story == "differ":
        hosts.require_same({"same": 1, "optim.learning_rate": 0.1 * hosts.index()})
    if flag.story == "fail":
        if hosts.index() == 1:
            raise ValueError("something broke")
        hosts.broadcast(None if hosts.index() else "x")
        hosts.all_gather("never complete", "process 1")
    if flag.story == "lock":
        lock.lock_workdir(flag.folder)
    own = os.path.join(flag.folder, str(hosts.index()))
    heard = {
        "count": hosts.count(),
        "all_gather": hosts.all_gather(f"from {hosts.index()}"),
        "broadcast": hosts.broadcast(["mine", hosts.index()]),
        "processes_without": hosts.processes_without(flag.folder),
        "processes_without own": hosts.processes_without(own),
    }
    hosts.require_same({"same": 1})
    try:
        hosts.run_on_primary(lambda: refuse(), "do it")
    except UserError as error:
        heard["run_on_primary"] = str(error)
    print(json.dumps(heard))


def refuse():
    assert hosts.is_primary()
    raise UserError("no such thing")


if __name__ == "__main__":
    sys.exit(cli.run(main))
