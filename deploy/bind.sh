#!/usr/bin/env bash
# Binds a rank to processors and memory near its GPU, and becomes COMMAND. 'bind.sh --help' says how.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: deploy/bind.sh [--cpu=exclusive|exclusive,nosmt|node|off] [--mem=node|off] [--dry-run] [--] COMMAND...

Starts COMMAND under numactl, bound by its rank on this machine:

  --cpu=exclusive        cores of its own, with all their hardware threads (the default)
  --cpu=exclusive,nosmt  the same, one hardware thread of each core
  --cpu=node             all processors of its NUMA node
  --cpu=off              not bound
  --mem=node             memory of its NUMA node alone (the default)
  --mem=off              not bound
  --dry-run              print the command, ready to be pasted, and run nothing

A rank's node is that of its GPU where nvidia-smi and the kernel tell it; else the ranks are dealt out over the nodes in
order. Only processors that this process may use are dealt out (a job's share under Slurm, a container's). The rank comes
from LOCAL_RANK, SLURM_LOCALID or OMPI_COMM_WORLD_LOCAL_RANK, the number of ranks from LOCAL_WORLD_SIZE,
SLURM_STEP_TASKS_PER_NODE, SLURM_NTASKS_PER_NODE or OMPI_COMM_WORLD_LOCAL_SIZE.

  torchrun --standalone --nproc-per-node 8 --no-python deploy/bind.sh -- python train_profiling.py --preset tbd
  srun --ntasks-per-node 8 deploy/rank.sh deploy/bind.sh --cpu=node -- ds2prof train --preset tbd ...

DS2PROF_SYSFS names a folder to look in instead of /sys.
HELP
}

fail() {
    echo "bind.sh: $1" >&2
    exit "${2:-2}"
}

cpu=exclusive mem=node dry_run=no
while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --cpu=*) cpu=${1#*=} ;;
        --mem=*) mem=${1#*=} ;;
        --dry-run) dry_run=yes ;;
        --) shift; break ;;
        -*) fail "$1: unknown option; --help lists them" ;;
        *) break ;;
    esac
    shift
done
[[ $# -gt 0 ]] || fail "no command; usage: bind.sh [--cpu=...] [--mem=...] -- COMMAND..."
case $cpu in exclusive | exclusive,nosmt | node | off) ;; *) fail "--cpu=$cpu: is none of exclusive, exclusive,nosmt, node, off" ;; esac
case $mem in node | off) ;; *) fail "--mem=$mem: is neither node nor off" ;; esac

run() {
    if [[ $dry_run == yes ]]; then
        local text
        printf -v text '%q ' "$@"
        echo "${text% }"
        exit 0
    fi
    exec "$@"
}
[[ $cpu != off || $mem != off ]] || run "$@"

# --- Who this is. ---

rank=${LOCAL_RANK:-${SLURM_LOCALID:-${OMPI_COMM_WORLD_LOCAL_RANK:-}}}
[[ $rank =~ ^[0-9]+$ ]] || fail "neither LOCAL_RANK nor SLURM_LOCALID nor OMPI_COMM_WORLD_LOCAL_RANK says which rank this is"
ranks=${LOCAL_WORLD_SIZE:-${SLURM_STEP_TASKS_PER_NODE:-${SLURM_NTASKS_PER_NODE:-${OMPI_COMM_WORLD_LOCAL_SIZE:-}}}}
ranks=${ranks%%[!0-9]*}
[[ $ranks =~ ^[1-9][0-9]*$ ]] || fail "LOCAL_WORLD_SIZE is not set: how many ranks share this machine?"
((rank < ranks)) || fail "rank $rank of $ranks: there is no such rank"

# --- What there is: the processors that may be used, by node and core. ---

# "0-3,8" as 0 1 2 3 8
numbers() {
    local part first last
    for part in ${1//,/ }; do
        first=${part%-*} last=${part#*-}
        while ((first <= last)); do
            echo "$first"
            first=$((first + 1))
        done
    done
}

declare -A allowed=()
listed=$(taskset --cpu-list --pid $$ 2>/dev/null) || listed=
for number in $(numbers "${listed##*: }"); do
    allowed[$number]=1
done
# One line for each core that may be used: its node, then its processors; in the order of nodes and cores.
mapfile -t cores < <(
    lscpu --parse=CPU,CORE,SOCKET,NODE | grep -v '^#' | while IFS=, read -r number core socket node; do
        [[ ${#allowed[@]} == 0 || -n ${allowed[$number]:-} ]] || continue
        echo "${node:-0} ${socket:-0} ${core:-$number} $number"
    done | sort -n -k1,1 -k2,2 -k3,3 -k4,4 |
        awk '{ key = $1 " " $2 " " $3
               if (key == last) line = line " " $4
               else { if (line != "") print line; line = $1 " " $4; last = key } }
             END { if (line != "") print line }'
)
((${#cores[@]} > 0)) || fail "lscpu names no processor that this process may use" 1
mapfile -t nodes < <(printf '%s\n' "${cores[@]}" | cut -d ' ' -f 1 | sort -nu)

# --- Where the ranks belong. ---

# The node of a rank's GPU; nothing where it is not known, or has no processor for us.
node_of_gpu() {
    local gpu=$1 bus node visible
    if [[ -n ${CUDA_VISIBLE_DEVICES:-} ]]; then
        IFS=, read -ra visible <<<"$CUDA_VISIBLE_DEVICES"
        # One GPU alone is seen where Slurm gives each task its own: then it is this rank's, and others' are not known.
        gpu=${visible[$1]:-}
        [[ -n $gpu ]] || return 0
    fi
    bus=$(nvidia-smi --query-gpu=pci.bus_id --format=csv,noheader --id="$gpu" 2>/dev/null) || return 0
    [[ $bus =~ ^[0-9A-Fa-f]{4}([0-9A-Fa-f]{4}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f])$ ]] || return 0
    node=$(cat "${DS2PROF_SYSFS:-/sys}/bus/pci/devices/${BASH_REMATCH[1],,}/numa_node" 2>/dev/null) || return 0
    [[ " ${nodes[*]} " != *" $node "* ]] || echo "$node"
}

homes=()
if command -v nvidia-smi >/dev/null; then
    for ((each = 0; each < ranks; each++)); do
        homes+=("$(node_of_gpu "$each")")
    done
fi
# All or none: half of a map would put ranks on top of each other.
if [[ ${#homes[@]} == 0 || " ${homes[*]/#/node:} " == *" node: "* ]]; then
    homes=()
    for ((each = 0; each < ranks; each++)); do
        homes+=("${nodes[each * ${#nodes[@]} / ranks]}")
    done
fi
home=${homes[rank]}

# --- This rank's share. ---

mapfile -t own < <(printf '%s\n' "${cores[@]}" | awk -v node="$home" '$1 == node')
if [[ $cpu == exclusive* ]]; then
    sharing=0 place=0
    for ((each = 0; each < ranks; each++)); do
        [[ ${homes[each]} == "$home" ]] || continue
        ((each >= rank)) || place=$((place + 1))
        sharing=$((sharing + 1))
    done
    first=$((place * ${#own[@]} / sharing)) last=$(((place + 1) * ${#own[@]} / sharing))
    ((last > first)) || fail "node $home has ${#own[@]} cores for $sharing ranks; take --cpu=node, or fewer ranks" 1
    own=("${own[@]:first:last-first}")
fi
processors=
for line in "${own[@]}"; do
    read -ra words <<<"$line"
    words=("${words[@]:1}")
    [[ $cpu != *,nosmt ]] || words=("${words[0]}")
    for word in "${words[@]}"; do
        processors+=${processors:+,}$word
    done
done

binding=(numactl)
[[ $cpu == off ]] || binding+=(--physcpubind="$processors")
[[ $mem == off ]] || binding+=(--membind="$home")
if [[ $dry_run == no ]]; then
    command -v numactl >/dev/null || fail "numactl: there is no such program; install it, or take --cpu=off --mem=off" 1
    reason=$("${binding[@]}" -- true 2>&1 >/dev/null) ||
        fail "${binding[*]}: ${reason%%$'\n'*}; in a container memory is bound with CAP_SYS_NICE alone: take --mem=off" 1
fi
run "${binding[@]}" -- "$@"
