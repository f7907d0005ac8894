#!/usr/bin/env bash
# Gives a process that Slurm or Open MPI started the variables that PyTorch knows it by, and becomes COMMAND.
#
#   srun --ntasks-per-node 8 deploy/rank.sh COMMAND...
#
# RANK, LOCAL_RANK, WORLD_SIZE and LOCAL_WORLD_SIZE come from SLURM_* or OMPI_COMM_WORLD_*; what torchrun has set stays.
# MASTER_ADDR and MASTER_PORT must be the same everywhere: the scripts in slurm/ set them, else one machine is assumed.
set -euo pipefail

fail() {
    echo "rank.sh: $1" >&2
    exit "${2:-2}"
}

[[ $# -gt 0 ]] || fail "usage: rank.sh COMMAND..."
if [[ -z ${RANK:-} ]]; then
    export RANK=${SLURM_PROCID:-${OMPI_COMM_WORLD_RANK:-}}
    export LOCAL_RANK=${SLURM_LOCALID:-${OMPI_COMM_WORLD_LOCAL_RANK:-}}
    export WORLD_SIZE=${SLURM_NTASKS:-${OMPI_COMM_WORLD_SIZE:-}}
    # Slurm writes "8(x2)" for 8 tasks on each of two machines; ranks are spread evenly here.
    local_size=${SLURM_STEP_TASKS_PER_NODE:-${SLURM_NTASKS_PER_NODE:-${OMPI_COMM_WORLD_LOCAL_SIZE:-}}}
    export LOCAL_WORLD_SIZE=${local_size%%[!0-9]*}
fi
for name in RANK LOCAL_RANK WORLD_SIZE; do
    [[ ${!name:-} =~ ^[0-9]+$ ]] || fail "$name is '${!name:-}': start it with srun, mpirun or torchrun"
done
nodes=${SLURM_STEP_NUM_NODES:-${SLURM_NNODES:-1}}
if [[ -z ${MASTER_ADDR:-} ]]; then
    [[ $nodes == 1 ]] || fail "MASTER_ADDR is not set, and there are $nodes machines: set it to the name of the first"
    export MASTER_ADDR=127.0.0.1
fi
export MASTER_PORT=${MASTER_PORT:-29500}
exec "$@"
