#!/usr/bin/env bash
# Runs one point of a sweep: the one whose number a launcher gives. See docs/sweeps.md.
#
#   launch/sweep.sh --config=configs/x.py --workdir=/shared/S
#
# The number comes from INDEX, or from an array job of SLURM, or from an indexed Job of Kubernetes; other
# launchers set INDEX, from 0. Points are resumed when their job starts again. When all are through, once:
#
#   python -m fnet_jax.tools.sweep --config=configs/x.py --workdir=/shared/S --only_table
set -euo pipefail

PYTHON=${PYTHON:-.venv/bin/python}
INDEX=${INDEX:-${SLURM_ARRAY_TASK_ID:-${JOB_COMPLETION_INDEX:-}}}
if [[ -z $INDEX ]]; then
  echo "error: no number of a point; set INDEX, from 0" >&2
  exit 2
fi
# exec: signals go to the sweep, which passes them on to the point.
exec "$PYTHON" -m fnet_jax.tools.sweep "$@" --index="$INDEX"
