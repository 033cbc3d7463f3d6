"""The steps of a run that the profiler watches."""

import os
from collections.abc import Callable

import jax

from fnet_jax.core.config import LogConfig
from fnet_jax.train.state import TrainState


class ProfileWindow:
    """Writes WORKDIR/profile for `profile_steps` steps from `profile_start` on; never where that is 0."""

    def __init__(self, log: LogConfig, workdir: str, say: Callable[[str], None]):
        self._log, self._folder, self._say = log, os.path.join(workdir, "profile"), say
        self._open = False

    def at(self, step: int, state: TrainState) -> None:
        """Opens or closes the window if that is due before the step that follows `step`."""
        start = self._log.profile_start
        if start and step == start:
            jax.profiler.start_trace(self._folder)
            self._open = True
        elif start and step == start + self._log.profile_steps:
            self.close(state)

    def close(self, state: TrainState) -> None:
        """Closes the window if it is open, also where a run ends inside it; waits for `state`."""
        if self._open:
            jax.block_until_ready(state)
            jax.profiler.stop_trace()
            self._open = False
            self._say(f"profile: {self._folder}; look at it with TensorBoard or Perfetto")
