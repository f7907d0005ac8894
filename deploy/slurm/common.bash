# What train_pyxis.sbatch and train.sbatch share. Sourced by them, with 'root' set to the checkout.
# shellcheck shell=bash

# The scripts set these, as a rank sees them: the checkout, the Python, srun's options for the container, and where
# checkpoints and measurements go.
here='' python=() inside=() checkpoints='' measurements=''

fail() {
    echo "${SLURM_JOB_NAME:-ds2prof}: $1" >&2
    exit "${2:-2}"
}

# With DRY_RUN=1 every step is printed, ready to be pasted, and nothing is run or written.
dry_run=${DRY_RUN:-0}
if [[ $dry_run == 1 ]]; then
    srun() { printf 'srun%s\n' "$(printf ' %q' "$@")"; }
fi
# Gives a variable to all steps.
share() {
    export "$1=$2"
    [[ $dry_run != 1 ]] || printf 'export %s=%q\n' "$1" "$2"
}
enter() {
    [[ $dry_run != 1 ]] || printf 'cd %q\n' "$1"
    cd -- "$1" || fail "$1: cannot go there" 1
}
# Shows its input, and keeps it in the file $1.
kept() {
    if [[ $dry_run == 1 ]]; then cat; else tee -- "$1"; fi
}

# Reads the settings, which come as environment variables because sbatch's arguments are the training's.
settings() {
    nexp=${NEXP:-1}
    seed=${SEED:-1}
    logs=$(realpath -s -m -- "${LOGDIR:-$root/measurements/logs}")
    mode=${PROFILE:-train}
    nccl_check=${NCCL_CHECK:-1}
    nodes=${SLURM_JOB_NUM_NODES:-${SLURM_NNODES:-1}}
    gpus=${GPUS_PER_NODE:-${SLURM_GPUS_ON_NODE:-}}
    [[ $gpus =~ ^[1-9][0-9]*$ ]] || fail "GPUS_PER_NODE is not set, and Slurm does not say how many GPUs a machine has"
    [[ $nexp =~ ^[1-9][0-9]*$ ]] || fail "NEXP=$nexp: give the number of trials"
    [[ $seed =~ ^[0-9]+$ ]] || fail "SEED=$seed: give the first trial's seed"
    case $mode in
        train | torch | nsight | nsys | nvprof | memory | smi) ;;
        *) fail "PROFILE=$mode: is neither train nor a profiler of 'ds2prof run'" ;;
    esac
    ranks=$((nodes * gpus))
    stamp=$(date -u +%Y%m%d-%H%M%S)
    [[ $dry_run == 1 ]] || mkdir -p -- "$logs"
    # The same on every machine: the first one's name, and a port that two jobs on it hardly share.
    local first=127.0.0.1
    if [[ $nodes != 1 && ($dry_run != 1 || -n ${SLURM_JOB_NODELIST:-}) ]]; then
        first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
    elif [[ $nodes != 1 ]]; then
        first=FIRST_MACHINE
    fi
    share MASTER_ADDR "$first"
    share MASTER_PORT $((20000 + ${SLURM_JOB_ID:-0} % 20000))
    # One task for each GPU. --mpi=none: PyTorch's ranks find each other by MASTER_ADDR.
    per_gpu=(--mpi=none --kill-on-bad-exit=1 --nodes="$nodes" --ntasks="$ranks" --ntasks-per-node="$gpus")
    per_node=(--mpi=none --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1)
}

# The command of one rank in trial $1, into 'command'; what follows are the options given to sbatch.
rank_command() {
    local trial=$1
    shift
    command=("$here/deploy/rank.sh" "$here/deploy/bind.sh" "--cpu=${BIND_CPU:-exclusive}" "--mem=${BIND_MEM:-node}" --)
    if [[ $mode == train ]]; then
        command+=("${python[@]}" -m ds2prof train --seed $((seed + trial - 1)))
        # A job that Slurm ended and starts again goes on from its last checkpoint.
        [[ -z $checkpoints ]] || command+=(--checkpoint-dir "$checkpoints/seed_$((seed + trial - 1))" --resume auto)
        command+=("$@")
        return
    fi
    # Each rank is captured by itself, and its measurement has its rank in its name.
    local script=("${python[@]}" "$here/train_profiling.py" --seed $((seed + trial - 1)))
    case $mode in
        torch) command+=("${script[@]}" --profiler torch --output "$measurements/torch_$stamp-$trial.json.gz") ;;
        memory) command+=("${script[@]}" --profiler memory --output "$measurements/memory_$stamp-$trial.csv") ;;
        *) command+=("${python[@]}" -m ds2prof run "$mode" --tag "$stamp-$trial" -- "${script[@]}") ;;
    esac
    command+=("$@")
}

# Checks the links before the trials: a slow or wrong one costs a minute here, and all of the run later.
check_links() {
    [[ $nccl_check == 1 && $ranks -gt 1 ]] || return 0
    local words=("${python[@]}" -m ds2prof bench allreduce --sizes "${NCCL_SIZES:-1M 8M 64M 256M}")
    [[ -z ${NCCL_AT_LEAST:-} ]] || words+=(--at-least "$NCCL_AT_LEAST")
    srun "${per_gpu[@]}" ${inside[@]+"${inside[@]}"} "$here/deploy/rank.sh" "$here/deploy/bind.sh" "--cpu=${BIND_CPU:-exclusive}" \
        "--mem=${BIND_MEM:-node}" -- "${words[@]}" |& kept "$logs/${stamp}_allreduce.log" ||
        fail "the check of the links failed; $logs/${stamp}_allreduce.log has what it said. NCCL_CHECK=0 leaves it out" 1
    # NVIDIA's own, where it is named: it is built with MPI.
    [[ -z ${ALL_REDUCE_PERF:-} ]] ||
        srun --mpi="${NCCL_MPI:-pmix}" "${per_gpu[@]:1}" ${inside[@]+"${inside[@]}"} "$ALL_REDUCE_PERF" -b 1M -e 256M -f 4 |&
        kept "$logs/${stamp}_all_reduce_perf.log" || fail "$ALL_REDUCE_PERF failed" 1
}

# Empties the page cache on each machine, so that every trial reads its data from where it lies. Needs sudo there.
clear_caches() {
    [[ ${CLEAR_CACHES:-0} == 0 ]] ||
        srun "${per_node[@]}" bash -c 'sync && sudo /sbin/sysctl vm.drop_caches=3' || fail "CLEAR_CACHES=1: sudo refused" 1
}

# All trials, one behind the other; the last failure's code is ours.
trials() {
    local trial code=0 rc
    for ((trial = 1; trial <= nexp; trial++)); do
        clear_caches
        rank_command "$trial" "$@"
        rc=0
        srun "${per_gpu[@]}" ${inside[@]+"${inside[@]}"} "${command[@]}" |& kept "$logs/${stamp}_$trial.log" || rc=$?
        if [[ $rc != 0 ]]; then
            echo "${SLURM_JOB_NAME:-ds2prof}: trial $trial of $nexp failed with $rc; see $logs/${stamp}_$trial.log" >&2
            code=$rc
        fi
    done
    return "$code"
}
