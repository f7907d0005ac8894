#!/usr/bin/env bash
# Starts a command in ds2prof's container, with data, measurements and GPUs where they belong.
# 'run_container.sh --help' says how.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: deploy/run_container.sh [options] [--] [COMMAND...]

Runs COMMAND (default: ds2prof doctor) in the image ds2prof:gpu, or ds2prof:cpu with --cpu, as yourself.

  --build               build the image first
  --cpu                 without GPUs
  --image NAME          another image
  --engine NAME         docker or podman (default: the one that is here, docker first)
  --data DIR            becomes /data, not to be written to
  --data-rw DIR         becomes /data, to be written to: for 'ds2prof data download'
  --measurements DIR    becomes /measurements (default: the checkout's measurements/)
  --checkpoints DIR     becomes /checkpoints
  --gpus WHICH          all (the default), or numbers: 0,2
  --numa                let bind.sh bind memory (adds CAP_SYS_NICE)
  --counters            let the container read the GPU's hardware counters (adds CAP_SYS_ADMIN: see below)
  --source              use this checkout instead of the copy in the image
  --env NAME[=VALUE]    set in the container; without a value, the one that is set here
  --dry-run             print the command, ready to be pasted, and run nothing
  -h, --help            this text

Hardware counters. NVIDIA's driver gives them to root alone unless the machine's administrator has opened them to all
with the module option NVreg_RestrictProfilingToAdminUsers=0 (see 'ds2prof doctor'). Where that is set, --counters is
not needed. Where it is not, --counters adds CAP_SYS_ADMIN and stays root in the container, because a capability is of
no use to another user there; that gives the container far-reaching rights over the machine: take it for profiling with
Nsight Compute only.

  deploy/run_container.sh --build --cpu
  deploy/run_container.sh --data /mnt/libri -- ds2prof train --preset tbd --train-manifest /data/libri_train_manifest.csv
  deploy/run_container.sh --counters -- bash run_profile.sh nsight --batch-sizes 32
  deploy/run_container.sh -- torchrun --standalone --nproc-per-node 8 -m ds2prof bench allreduce

Exit codes: those of COMMAND; 2 usage, 1 no engine.
HELP
}

fail() {
    echo "run_container.sh: $1" >&2
    exit "$2"
}
value_of() {
    [[ $# -ge 2 && -n $2 ]] || fail "$1: needs a value" 2
}
show() {
    local text
    printf -v text '%q ' "$@"
    echo "${text% }"
}
# The folder's full path; a folder that is written to is made, so that the engine does not make it as root.
folder() {
    local path=$2
    [[ $3 == ro || $dry_run == yes || -d $path ]] || mkdir -p -- "$path" || fail "$1 $path: cannot be made" 1
    [[ -d $path || $dry_run == yes ]] || fail "$1 $path: there is no such folder" 1
    [[ $path != *:* ]] || fail "$1 $path: a path with a colon cannot be mounted" 2
    if [[ -d $path ]]; then (cd -- "$path" && pwd); else realpath -m -- "$path"; fi
}

root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
engine='' image='' kind=gpu gpus=all data='' data_mode=ro measurements=$root/measurements checkpoints=''
build=no numa=no counters=no source=no dry_run=no
environment=()
while [[ $# -gt 0 ]]; do
    case $1 in
        -h | --help) usage; exit 0 ;;
        --build) build=yes ;;
        --cpu) kind=cpu ;;
        --numa) numa=yes ;;
        --counters) counters=yes ;;
        --source) source=yes ;;
        --dry-run) dry_run=yes ;;
        --image) value_of "$@"; image=$2; shift ;;
        --engine) value_of "$@"; engine=$2; shift ;;
        --data) value_of "$@"; data=$2; data_mode=ro; shift ;;
        --data-rw) value_of "$@"; data=$2; data_mode=rw; shift ;;
        --measurements) value_of "$@"; measurements=$2; shift ;;
        --checkpoints) value_of "$@"; checkpoints=$2; shift ;;
        --gpus) value_of "$@"; gpus=$2; shift ;;
        --env) value_of "$@"; environment+=("$2"); shift ;;
        --) shift; break ;;
        -*) fail "$1: unknown option; --help lists them, the command goes behind --" 2 ;;
        *) break ;;
    esac
    shift
done
# Only now is it known whether folders may be made.
measurements=$(folder --measurements "$measurements" rw)
[[ -z $data ]] || data=$(folder --data "$data" "$data_mode")
[[ -z $checkpoints ]] || checkpoints=$(folder --checkpoints "$checkpoints" rw)
[[ $gpus == all || $gpus =~ ^[0-9]+(,[0-9]+)*$ ]] || fail "--gpus $gpus: give all, or numbers as 0,2" 2
[[ $kind == gpu || $counters == no ]] || fail "--counters: are a GPU's; leave --cpu or --counters out" 2
image=${image:-ds2prof:$kind}

if [[ -z $engine ]]; then
    for engine in docker podman none; do
        ! command -v -- "$engine" >/dev/null || break
    done
    [[ $engine != none || $dry_run == no ]] || engine=docker
fi
case $engine in
    docker | podman) ;;
    none) fail "neither docker nor podman is here; install one, or name one with --engine" 1 ;;
    *) fail "--engine $engine: give docker or podman" 2 ;;
esac

[[ $# -gt 0 ]] || set -- ds2prof doctor

# --- What is run. ---

builds=("$engine" build --file "$root/deploy/Dockerfile.$kind" --build-arg "UID=$(id -u)" --build-arg "GID=$(id -g)"
    --tag "$image" "$root")
[[ $(id -u) != 0 ]] || builds=("$engine" build --file "$root/deploy/Dockerfile.$kind" --tag "$image" "$root")

runs=("$engine" run --rm --init)
[[ ! (-t 0 && -t 1) || $dry_run == yes ]] || runs+=(--interactive --tty)
# Workers of the loader hand batches over in shared memory, of which a container has 64 MB by itself; NCCL pins memory.
runs+=(--ipc host --ulimit memlock=-1 --ulimit stack=67108864)
# The engines' filter of system calls lets memory be bound where this capability is there, whoever the user is.
[[ $numa == no ]] || runs+=(--cap-add SYS_NICE)
if [[ $counters == yes ]]; then
    runs+=(--cap-add SYS_ADMIN --user 0:0)
elif [[ $engine == podman ]]; then
    runs+=(--userns keep-id)
else
    runs+=(--user "$(id -u):$(id -g)")
fi
if [[ $kind == gpu ]]; then
    if [[ $engine == docker ]]; then
        if [[ $gpus == all ]]; then runs+=(--gpus all); else runs+=(--gpus "\"device=$gpus\""); fi
    else
        for gpu in ${gpus//,/ }; do
            runs+=(--device "nvidia.com/gpu=$gpu")
        done
    fi
fi
runs+=(--volume "$measurements:/measurements")
[[ -z $data ]] || runs+=(--volume "$data:/data:$data_mode")
[[ -z $checkpoints ]] || runs+=(--volume "$checkpoints:/checkpoints")
[[ $source == no ]] || runs+=(--volume "$root:/opt/ds2prof:ro")
runs+=(--env DS2PROF_MEASUREMENTS=/measurements --env HOME=/tmp)
for each in ${environment[@]+"${environment[@]}"}; do
    runs+=(--env "$each")
done
runs+=("$image" "$@")

if [[ $dry_run == yes ]]; then
    [[ $build == no ]] || show "${builds[@]}"
    show "${runs[@]}"
    exit 0
fi
[[ $build == no ]] || "${builds[@]}" >&2
exec "${runs[@]}"
