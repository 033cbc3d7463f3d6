#!/usr/bin/env bash
# Trains on a TPU VM slice, or on several slices, through gcloud.
#
#   launch/tpu_vm.sh [--dry_run] ACTION... [-- FLAGS]
#
#   create     ask for the slices (they are queued until there is room)
#   wait       until they are there
#   install    clone the project on every worker, install it, mount the shared folder
#   preflight  tools.preflight with FLAGS on every worker
#   train      start train.py with FLAGS on every worker; training goes on if this connection breaks
#   log        show the log of process 0 until training ends; the exit code is that of train.py
#   stop       SIGTERM to train.py: it saves and ends with 143
#   delete     give the slices back
#
# --dry_run prints the commands instead of running them. Needs bash 4.4 and gcloud. Each value below can be set in
# the environment:
#
#   NAME=base ZONE=us-west4-a launch/tpu_vm.sh create wait install preflight train log -- \
#     --config=configs/pretrain.py:size=base --workdir=/mnt/fnet/base
#
# A slice that was taken away: the same with delete in front; training goes on from the newest checkpoint.
set -euo pipefail

NAME=${NAME:-fnet}
PROJECT=${PROJECT:-$(gcloud config get-value project 2>/dev/null || true)}
ZONE=${ZONE:-us-west4-a}
ACCELERATOR_TYPE=${ACCELERATOR_TYPE:-v5litepod-16}
RUNTIME_VERSION=${RUNTIME_VERSION:-v2-alpha-tpuv5-lite}
SLICES=${SLICES:-1}          # more than one: a multi-slice job, its gradients travel over the data centre's network
SPOT=${SPOT:-false}          # true: cheaper, and may be taken away at any time
REPOSITORY=${REPOSITORY:-}   # URL that git can clone without a password
REVISION=${REVISION:-main}   # branch, tag or commit
# Run on every worker, so that all see one folder: data set and workdir must be there. For example
# "sudo mkdir -p /mnt/fnet && sudo mount -t nfs -o vers=4 10.0.0.2:/fnet /mnt/fnet"
MOUNT=${MOUNT:-true}

DRY_RUN=false

exec 3>&1 # commands are shown here, also while the output of one is caught

run() {
  { printf '+' && printf ' %q' "$@" && echo; } >&3
  $DRY_RUN || "$@" 3>&-
}

queued() {
  run gcloud compute tpus queued-resources "$1" "$NAME" --project="$PROJECT" --zone="$ZONE" "${@:2}"
}

# Multi-worker ssh needs the key in an agent: ssh-add ~/.ssh/google_compute_engine
on_all() { queued ssh --node=all --worker=all --batch-size=all --command="$1"; }
on_first() { queued ssh --node=0 --worker=0 --command="$1"; }

create() {
  local nodes=(--node-id="$NAME") tier=()
  if [[ $SLICES -gt 1 ]]; then nodes=(--node-count="$SLICES" --node-prefix="$NAME"); fi
  if $SPOT; then tier=(--spot); fi
  queued create --accelerator-type="$ACCELERATOR_TYPE" --runtime-version="$RUNTIME_VERSION" \
    "${nodes[@]}" "${tier[@]}"
}

wait_for_slices() {
  local state=
  while true; do
    state=$(queued describe --format="value(state.state)")
    case $state in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED)
        echo "error: $NAME is $state; look with gcloud compute tpus queued-resources describe $NAME" >&2
        exit 1
        ;;
    esac
    if $DRY_RUN; then return; fi
    echo "$(date +%T) $NAME: $state" >&2
    sleep 30
  done
}

# uv brings a Python that the image may not have.
install() {
  if [[ -z $REPOSITORY ]]; then
    echo "error: REPOSITORY is not set; give a URL that git can clone" >&2
    exit 2
  fi
  on_all "set -e
    $MOUNT
    [ -d fnet_jax ] || git clone ${REPOSITORY@Q} fnet_jax
    cd fnet_jax
    git fetch origin ${REVISION@Q}
    git checkout --detach FETCH_HEAD
    python3 -m pip install --quiet --user uv
    python3 -m uv venv --quiet --allow-existing --python 3.11
    python3 -m uv pip install --quiet --constraint requirements.txt --editable '.[tpu]'"
}

preflight() { on_all "cd fnet_jax && .venv/bin/python -m fnet_jax.tools.preflight $FLAGS"; }

# The inner shell outlives the connection and writes down the exit code of train.py.
train() {
  on_all "cd fnet_jax
    if [ -s train.pid ] && kill -0 \$(cat train.pid) 2> /dev/null; then
      echo 'error: train.py is running; stop it first' >&2
      exit 2
    fi
    rm -f train.pid train.exit
    setsid nohup sh -c '.venv/bin/python train.py \"\$@\" & echo \$! > train.pid; wait \$!; echo \$? > train.exit' \
      train $FLAGS > train.log 2>&1 < /dev/null &"
}

log() {
  on_first "cd fnet_jax
    until [ -s train.pid ]; do sleep 1; done
    tail -n +1 -F --pid=\$(cat train.pid) train.log
    for _ in 1 2 3 4 5 6 7 8 9 10; do [ -s train.exit ] || sleep 1; done
    exit \$(cat train.exit)"
}

stop() { on_all "kill -TERM \$(cat fnet_jax/train.pid)"; }

delete() { queued delete --force --quiet; }

actions=()
while [[ $# -gt 0 && $1 != -- ]]; do
  case $1 in
    --dry_run) DRY_RUN=true ;;
    wait) actions+=(wait_for_slices) ;;
    create | install | preflight | train | log | stop | delete) actions+=("$1") ;;
    *)
      echo "error: unknown action $1; create, wait, install, preflight, train, log, stop or delete" >&2
      exit 2
      ;;
  esac
  shift
done
if [[ ${1:-} == -- ]]; then shift; fi
FLAGS="${*@Q}"
if [[ ${#actions[@]} -eq 0 ]]; then
  sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$0"
  exit 2
fi
for action in "${actions[@]}"; do "$action"; done
