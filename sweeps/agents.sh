#!/usr/bin/env bash
# Start one `wandb agent` per GPU of this node, and wait until the sweep has no more runs:
#   sweeps/agents.sh ENTITY/PROJECT/SWEEP_ID [options of wandb agent]
# Their output goes to runs/agents/SWEEP_ID/HOST-gpuN.log. Ctrl-C or SIGTERM stops all agents: every
# run writes a checkpoint and is marked preempting, so that a later agent continues it.
# If the node can reach W&B but should not upload, set WANDB_MODE=offline and call upload.py later.
# If it cannot reach W&B at all, run: python sweep.py sweeps/FILE.yaml --devices 0,1,...
set -euo pipefail

if [[ $# -lt 1 || $1 == -* ]]; then
  echo "usage: sweeps/agents.sh ENTITY/PROJECT/SWEEP_ID [options of wandb agent]" >&2
  exit 2
fi
if [[ -f $1 ]]; then
  echo "agents.sh: $1 is a file; create the sweep with \`wandb sweep $1\` and pass the ID that it" \
    "prints, or run it without a server: python sweep.py $1" >&2
  exit 2
fi
sweep=$1
shift

# Print the GPUs, one a line, as CUDA_VISIBLE_DEVICES names them. A GPU that is divided by MIG cannot
# be used itself, and its parts have no numbers.
list_gpus() {
  if [[ -n ${CUDA_VISIBLE_DEVICES+set} ]]; then
    tr -d ' ' <<<"$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -vxE '|-1|NoDevFiles' || true
  elif command -v nvidia-smi >/dev/null; then
    nvidia-smi -L | awk '
      /^GPU/ { if (whole != "") print whole; whole = $2 + 0 }
      match($0, /MIG-[^)]+/) { print substr($0, RSTART, RLENGTH); whole = "" }
      END { if (whole != "") print whole }'
  fi
}

if ! listed=$(list_gpus); then
  echo "agents.sh: nvidia-smi fails, so the GPUs are not known: set CUDA_VISIBLE_DEVICES to them, or" \
    "to -1 to train on the CPU" >&2
  exit 1
fi
gpus=()
[[ -z $listed ]] || mapfile -t gpus <<<"$listed"
if [[ ${#gpus[@]} -eq 0 ]]; then
  echo "no GPU is visible: starting one agent on the CPU"
  gpus=(none)
fi

# One core of each agent is for the process that draws the latent space, as in train.py.
threads=$(($(nproc) / ${#gpus[@]} - 1))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
logs=runs/agents/${sweep##*/}
mkdir -p "$logs"

pids=()
stopped=0
# shellcheck disable=SC2329  # called by the traps
stop() {
  stopped=$1
  echo "stopping ${#pids[@]} agents; their runs write a checkpoint first"
  kill -TERM "${pids[@]}" 2>/dev/null || true
}
trap 'stop 130' INT
trap 'stop 143' TERM HUP USR1

for gpu in "${gpus[@]}"; do
  log=$logs/$(hostname)-gpu${gpu//\//_}.log
  environment=()
  [[ $gpu == none ]] || environment=("CUDA_VISIBLE_DEVICES=$gpu")
  # In its own session, an agent receives each signal once, from this script only.
  setsid env "${environment[@]}" wandb agent --forward-signals --term-timeout 90 "$@" "$sweep" \
    >>"$log" 2>&1 </dev/null &
  pids+=($!)
  echo "agent on GPU $gpu: process $!, log $log"
done

failed=0
for pid in "${pids[@]}"; do
  # A trapped signal ends `wait` early, while the agent is still stopping its run.
  while kill -0 "$pid" 2>/dev/null; do
    wait "$pid" && code=0 || code=$?
  done
  if [[ ${code:-0} -ne 0 && $stopped -eq 0 ]]; then
    failed=1
  fi
  code=0
done
if [[ $stopped -ne 0 ]]; then
  exit "$stopped"
fi
# An agent exits with 0 even if its runs failed; W&B shows the state of each run.
exit "$failed"
