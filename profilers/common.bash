# What the launchers beside this file share: each sources it. They read what ds2prof tells them, one word a line, into
# these arrays, build 'command', and end in 'run_command'.
#
#   options       DS2PROF_OPTIONS: further words for the tool
#   environment   DS2PROF_ENVIRONMENT: NAME=value for the program
# shellcheck shell=bash

options=()
while IFS= read -r line; do [[ -z $line ]] || options+=("$line"); done <<<"${DS2PROF_OPTIONS:-}"
environment=()
while IFS= read -r line; do [[ -z $line ]] || environment+=("$line"); done <<<"${DS2PROF_ENVIRONMENT:-}"
command=()

# Whether DS2PROF_OPTIONS has this option.
given() {
    local word
    for word in "${options[@]+"${options[@]}"}"; do
        [[ ${word%%=*} != "${1%%=*}" ]] || return 0
    done
    return 1
}

# An option of ours, with its value in it or behind it, unless DS2PROF_OPTIONS has it: the tools take none twice.
default() {
    given "$1" || command+=("$@")
}

# The program, with its environment.
add_program() {
    if [[ ${#environment[@]} -gt 0 ]]; then
        command+=(env "${environment[@]}")
    fi
    command+=("$@")
}

# A program that records itself (mode trace or memory) into DS2PROF_OUTPUT, whose extension is given: our training script
# writes the file by itself, into any other program ds2prof/inject goes.
add_recorded_program() {
    local mode=$1 extension=$2 output=${DS2PROF_OUTPUT:?the file to write}
    shift 2
    if [[ -z ${DS2PROF_INJECT_SITE:-} ]]; then
        add_program "$@" --output "$output"
        return
    fi
    # Absolute, since the program may go to another folder before it has anything to write.
    [[ $output == /* ]] || output=$PWD/$output
    environment+=(
        "PYTHONPATH=$DS2PROF_INJECT_SITE${PYTHONPATH:+:$PYTHONPATH}"
        "DS2PROF_INJECT=$mode"
        "DS2PROF_INJECT_OUTPUT=${output%".$extension"}.{process}.$extension"
    )
    case ${DS2PROF_WINDOW:-} in
        all) environment+=(DS2PROF_WINDOW=all) ;;
        [0-9]*:[0-9]*)
            environment+=("DS2PROF_PROFILE_START=${DS2PROF_WINDOW%:*}" "DS2PROF_PROFILE_STOP=${DS2PROF_WINDOW#*:}")
            ;;
    esac
    [[ ${DS2PROF_DETAIL:-} != 1 ]] || environment+=(DS2PROF_DETAIL=1)
    add_program "$@"
}

# The command, run, or with DS2PROF_DRY_RUN=1 printed on one line.
run_command() {
    if [[ ${DS2PROF_DRY_RUN:-0} == 1 ]]; then
        printf '%q ' "${command[@]}"
        echo
        exit
    fi
    exec "${command[@]}"
}
