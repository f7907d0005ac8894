#!/usr/bin/env bash
# Makes or refreshes a Python environment that holds this project and what it needs.
#
#   scripts/environment.sh FOLDER EXTRAS        e.g.  scripts/environment.sh .venv train,test
#
# EXTRAS are those of pyproject.toml, separated by commas; '' for none. Progress goes to standard error. When it
# succeeds, FOLDER/bin/python is there and has all of it, at the versions of constraints.txt.
#
# FOLDER/.ds2prof-ready is written last. It says what is installed and from which pyproject.toml and constraints.txt, so
# nothing is done when nothing changed, and what was interrupted never counts as done.
set -euo pipefail

fail() {
    echo "environment.sh: $1" >&2
    exit "${2:-1}"
}
say() {
    echo "environment.sh: $1" >&2
}

[[ $# == 2 && -n $1 ]] || fail "usage: scripts/environment.sh FOLDER EXTRAS" 2
[[ $2 =~ ^[a-z,]*$ ]] || fail "EXTRAS are names separated by commas, not '$2'" 2
mkdir -p -- "$(dirname -- "$1")"
folder=$(cd -- "$(dirname -- "$1")" && pwd)/$(basename -- "$1")
extras=$2
root=$(cd -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/.." && pwd)
python=$folder/bin/python
ready=$folder/.ds2prof-ready        # line 1: what it was made from; line 2: the extras in it
made=$folder/.ds2prof-made          # the folder is this script's own, and may be made anew

cpu_index=https://download.pytorch.org/whl/cpu

key() {
    echo "$root $(cat "$root/pyproject.toml" "$root/constraints.txt" | cksum)"
}

works() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null
}

# The extras installed, in one line; fails where the environment is not as pyproject.toml and constraints.txt say.
installed() {
    [[ -f $ready && $(sed -n 1p "$ready") == "$(key)" ]] && works && sed -n 2p "$ready"
}

covers() {
    local extra
    for extra in ${2//,/ }; do
        [[ ,$1, == *,$extra,* ]] || return 1
    done
}

base_python() {
    local name
    for name in python3 python3.13 python3.12 python3.14 python3.11 python3.10 python; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    fail "no Python 3.10 or newer on the PATH; install one, or name one with DS2PROF_PYTHON"
}

make_folder() {
    local base
    base=$(base_python)
    say "making $folder with $("$base" --version 2>&1)"
    rm -f -- "$made"
    "$base" -m venv --clear -- "$folder" >&2 ||
        fail "$base cannot make an environment; on Debian and Ubuntu, install the package python3-venv"
    touch -- "$made"
}

pip() {
    "$python" -I -m pip --disable-pip-version-check "$@"
}

would_install() {
    pip install --dry-run --no-deps -c "$root/constraints.txt" "$@" torch 2>/dev/null | sed -n 's/^Would install //p'
}

# Without an NVIDIA driver PyTorch's CPU build does the same in a tenth of the space.
install_cpu_torch() {
    local found extra=()
    found=$(would_install)
    if [[ -z $found ]]; then
        return
    fi
    if [[ $found != *+cpu* ]]; then
        extra=(--extra-index-url "$cpu_index" --retries 1 --timeout 15)
        found=$(would_install "${extra[@]}")
        if [[ $found != *+cpu* ]]; then
            say "no NVIDIA driver, but PyTorch's CPU builds cannot be reached: taking the default build, which is larger"
            return
        fi
    fi
    say "no NVIDIA driver: taking $found"
    pip install --no-deps -c "$root/constraints.txt" ${extra[@]+"${extra[@]}"} torch >&2
}

# One at a time: a second run waits here and then finds everything done.
if command -v flock >/dev/null; then
    exec 9<"$root"
    flock 9
fi

have=$(installed) || have=none
if [[ $have != none ]] && covers "$have" "$extras"; then
    exit 0
fi
if [[ -f $ready ]]; then
    # What another user of the folder asked for stays in it.
    extras=$(printf '%s,%s' "$extras" "$(sed -n 2p "$ready")" | tr ',' '\n' | sed '/^$/d' | sort -u | paste -sd, -)
fi

# An environment of ours that was not finished is made anew. One that somebody else made here is used as it is.
if ! works || [[ -f $made && ! -f $ready ]]; then
    make_folder
fi
rm -f -- "$ready"

say "installing ds2prof${extras:+[$extras]}; the first time this takes some minutes"
if [[ ,$extras, == *,train,* && $(uname -s) == Linux ]] &&
    ! command -v nvidia-smi >/dev/null && [[ ! -e /proc/driver/nvidia ]]; then
    install_cpu_torch || fail "PyTorch could not be installed; what pip says stands above"
fi
pip install -c "$root/constraints.txt" -e "$root${extras:+[$extras]}" >&2 ||
    fail "the packages could not be installed; what pip says stands above"

printf '%s\n%s\n' "$(key)" "$extras" >"$ready.partial"
mv -- "$ready.partial" "$ready"
say "ready: $python"
