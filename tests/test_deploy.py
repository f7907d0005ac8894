"""What is in deploy/ starts what it should, by stand-ins for the engines and for Slurm, and is clean to the linters."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch_support import executable

NO_RANK = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "CUDA_VISIBLE_DEVICES")


@pytest.fixture
def deploy(root) -> Path:
    return root / "deploy"


def clean_environment(**given: str) -> dict[str, str]:
    """Ours, without what tells a process its rank."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in NO_RANK and not name.startswith(("SLURM_", "OMPI_", "DS2PROF_"))
    }
    return {**kept, **given}


def ran(
    command: list[object], *, code: int = 0, cwd: Path | None = None, **environ: str
) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [str(word) for word in command],
        env=clean_environment(**environ),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def beside(path: Path) -> str:
    """PATH with this folder of stand-ins first."""
    return f"{path}{os.pathsep}{os.environ['PATH']}"


# --- the linters ---


def test_the_scripts_are_clean_to_shellcheck(deploy):
    tool = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if tool is None:
        pytest.skip("the tool shellcheck is not installed")
    scripts = [*deploy.glob("*.sh"), *deploy.glob("slurm/*")]
    assert len(scripts) == 6
    ran([tool, "-x", *scripts])


def test_the_dockerfiles_are_clean_to_hadolint(deploy):
    tool = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if tool is None:
        pytest.skip("the tool hadolint is not installed")
    ran([tool, "--no-color", "--failure-threshold", "info", deploy / "Dockerfile.cpu", deploy / "Dockerfile.gpu"])


# --- the images ---


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_an_images_extras_are_those_that_the_project_has(deploy, root, kind):
    pytest.importorskip("tomllib", reason="the module tomllib is Python 3.11's")
    (extras,) = (
        line.partition("=")[2]
        for line in (deploy / f"Dockerfile.{kind}").read_text().splitlines()
        if line.startswith("ARG EXTRAS=")
    )
    done = ran([sys.executable, deploy / "requirements.py", root / "pyproject.toml", extras])
    names = [line.split(">")[0].split("=")[0] for line in done.stdout.splitlines()]
    assert {"click", "numpy", "torch"} <= set(names)
    assert len(names) == len(set(names))


def test_requirements_follow_extras_of_the_project_itself(deploy, tmp_path):
    pytest.importorskip("tomllib", reason="the module tomllib is Python 3.11's")
    declared = tmp_path / "pyproject.toml"
    declared.write_text(
        '[project]\nname = "p"\ndependencies = ["a>=1"]\n'
        '[project.optional-dependencies]\nx = ["b"]\ny = ["c", "a>=1"]\nall = ["p[x, y]", "p[all]"]\n'
    )
    assert ran([sys.executable, deploy / "requirements.py", declared, "all"]).stdout.split() == ["a>=1", "b", "c"]
    assert "there are x, y, all" in ran([sys.executable, deploy / "requirements.py", declared, "z"], code=1).stderr


@pytest.mark.parametrize("kind", ["cpu", "gpu"])
def test_images_do_not_run_as_root_and_copy_what_is_there(deploy, root, kind):
    lines = (deploy / f"Dockerfile.{kind}").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")] == ["USER ${UID}:${GID}"]
    copied = next(line for line in lines if line.startswith("COPY pyproject"))
    assert all((root / name).is_file() for name in copied.split()[1:-1])
    left_out = (deploy / f"Dockerfile.{kind}.dockerignore").read_text().splitlines()
    assert {".git", ".venv", "measurements/*"} <= set(left_out)


# --- run_container.sh ---

ENGINE = """#!/usr/bin/env bash
printf '%s\\n' "$(basename "$0")" "$@" >>"$FAKE_ARGV"
echo --- >>"$FAKE_ARGV"
exit "${FAKE_CODE:-0}"
"""


@pytest.fixture
def engines(tmp_path):
    folder = tmp_path / "engines"
    folder.mkdir()
    for name in ("docker", "podman"):
        executable(folder / name, ENGINE)
    return folder


def container(deploy, engines, *options: object, code: int = 0, **environ: str) -> list[list[str]]:
    """The command lines that the engine was given."""
    log = engines / "argv"
    log.unlink(missing_ok=True)
    ran([deploy / "run_container.sh", *options], code=code, PATH=beside(engines), FAKE_ARGV=str(log), **environ)
    return [each.splitlines() for each in log.read_text().split("---\n")[:-1]] if log.exists() else []


def pairs(words: list[str], option: str) -> list[str]:
    return [words[at + 1] for at, word in enumerate(words) if word == option]


def test_a_container_gets_data_measurements_and_gpus(deploy, engines, tmp_path):
    (tmp_path / "my data").mkdir()
    (words,) = container(
        *(deploy, engines, "--data", tmp_path / "my data", "--measurements", tmp_path / "m"),
        *("--checkpoints", tmp_path / "c", "--env", "NCCL_DEBUG=INFO", "--", "ds2prof", "train", "--preset", "t b"),
    )
    assert words[:4] == ["docker", "run", "--rm", "--init"]
    assert words[-5:] == ["ds2prof:gpu", "ds2prof", "train", "--preset", "t b"]
    assert pairs(words, "--volume") == [
        f"{tmp_path}/m:/measurements",
        f"{tmp_path}/my data:/data:ro",
        f"{tmp_path}/c:/checkpoints",
    ]
    assert pairs(words, "--gpus") == ["all"]
    assert pairs(words, "--user") == [f"{os.getuid()}:{os.getgid()}"]
    assert pairs(words, "--env") == ["DS2PROF_MEASUREMENTS=/measurements", "HOME=/tmp", "NCCL_DEBUG=INFO"]
    assert pairs(words, "--ipc") == ["host"]
    assert "--cap-add" not in words
    assert (tmp_path / "m").is_dir()


def test_the_default_command_is_the_doctor(deploy, engines, tmp_path):
    (words,) = container(deploy, engines, "--cpu", "--measurements", tmp_path)
    assert words[-3:] == ["ds2prof:cpu", "ds2prof", "doctor"]
    assert "--gpus" not in words


def test_counters_take_a_capability_and_root(deploy, engines, tmp_path):
    (words,) = container(deploy, engines, "--counters", "--measurements", tmp_path, "bash", "run_profile.sh", "nsight")
    assert pairs(words, "--cap-add") == ["SYS_ADMIN"]
    assert pairs(words, "--user") == ["0:0"]
    assert words[-3:] == ["bash", "run_profile.sh", "nsight"]


def test_binding_memory_takes_a_capability_but_no_root(deploy, engines, tmp_path):
    (words,) = container(deploy, engines, "--numa", "--measurements", tmp_path)
    assert pairs(words, "--cap-add") == ["SYS_NICE"]
    assert pairs(words, "--user") == [f"{os.getuid()}:{os.getgid()}"]


def test_some_gpus_are_named_as_each_engine_wants_it(deploy, engines, tmp_path):
    (words,) = container(deploy, engines, "--gpus", "0,2", "--measurements", tmp_path)
    assert pairs(words, "--gpus") == ['"device=0,2"']
    (words,) = container(deploy, engines, "--gpus", "0,2", "--engine", "podman", "--measurements", tmp_path)
    assert words[0] == "podman"
    assert pairs(words, "--device") == ["nvidia.com/gpu=0", "nvidia.com/gpu=2"]
    assert pairs(words, "--userns") == ["keep-id"]


def test_an_image_is_built_before_it_is_run(deploy, engines, tmp_path, root):
    builds, runs = container(deploy, engines, "--build", "--cpu", "--image", "mine:1", "--measurements", tmp_path)
    assert builds[:4] == ["docker", "build", "--file", str(root / "deploy/Dockerfile.cpu")]
    assert builds[-3:] == ["--tag", "mine:1", str(root)]
    assert "mine:1" in runs


def test_a_failed_build_runs_nothing(deploy, engines, tmp_path):
    options = ("--build", "--measurements", tmp_path)
    assert len(container(deploy, engines, *options, code=7, FAKE_CODE="7")) == 1


def test_a_dry_run_prints_what_would_be_run_and_runs_nothing(deploy, engines, tmp_path):
    words = ["--measurements", str(tmp_path / "not there"), "--env", "A=x y", "--", "echo", "it's"]
    log = engines / "argv"
    done = ran([deploy / "run_container.sh", "--dry-run", *words], PATH=beside(engines), FAKE_ARGV=str(log))
    assert not log.exists()
    assert not (tmp_path / "not there").exists()
    (real,) = container(deploy, engines, *words)
    assert shlex.split(done.stdout) == real


def test_a_dry_run_of_the_command_itself_is_the_commands(deploy, engines, tmp_path):
    (words,) = container(deploy, engines, "--measurements", tmp_path, "bash", "run_profile.sh", "--dry-run")
    assert words[-4:] == ["ds2prof:gpu", "bash", "run_profile.sh", "--dry-run"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--frobnicate"], 2, "unknown option"),
        (["--data"], 2, "needs a value"),
        (["--data", "/no/such/folder"], 1, "there is no such folder"),
        (["--gpus", "all,1"], 2, "give all, or numbers"),
        (["--cpu", "--counters"], 2, "are a GPU's"),
        (["--engine", "lxc"], 2, "give docker or podman"),
    ],
)
def test_mistakes_are_one_line(deploy, engines, options, code, said):
    done = ran([deploy / "run_container.sh", *options], code=code, PATH=beside(engines))
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


# --- rank.sh ---


def ranked(deploy, code: int = 0, **environ: str) -> list[str]:
    names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT"
    script = " ".join(f"${{{name}:-none}}" for name in names.split())
    done = ran([deploy / "rank.sh", "bash", "-c", f"echo {script}"], code=code, **environ)
    return done.stdout.split() or [done.stderr]


def test_slurms_variables_become_pytorchs(deploy):
    assert ranked(
        deploy,
        SLURM_PROCID="9",
        SLURM_LOCALID="1",
        SLURM_NTASKS="16",
        SLURM_STEP_TASKS_PER_NODE="8(x2)",
        SLURM_NNODES="2",
        MASTER_ADDR="node7",
        MASTER_PORT="20001",
    ) == ["9", "1", "16", "8", "node7", "20001"]


def test_open_mpis_variables_become_pytorchs(deploy):
    given = {"RANK": "3", "LOCAL_RANK": "3", "SIZE": "4", "LOCAL_SIZE": "4"}
    environ = {f"OMPI_COMM_WORLD_{name}": value for name, value in given.items()}
    assert ranked(deploy, **environ) == ["3", "3", "4", "4", "127.0.0.1", "29500"]


def test_what_torchrun_has_set_stays(deploy):
    environ = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "here", "MASTER_PORT": "7"}
    assert ranked(deploy, SLURM_PROCID="5", SLURM_NTASKS="9", **environ)[:3] == ["1", "1", "2"]


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "RANK is ''"),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, "LOCAL_RANK is ''"),
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "2", "SLURM_NNODES": "2"}, "MASTER_ADDR is not"),
    ],
)
def test_a_rank_that_cannot_be_known_is_an_error(deploy, environ, said):
    assert said in ranked(deploy, code=2, **environ)[0]


# --- bind.sh ---

# Two nodes of four cores with two hardware threads each, numbered as Intel's are.
PROCESSORS = [(core + 8 * thread, core, core // 4, core // 4) for thread in range(2) for core in range(8)]


@pytest.fixture
def machine(tmp_path):
    """A folder of stand-ins for a machine with eight cores on two nodes; nvidia-smi knows no GPU."""
    folder = tmp_path / "machine"
    folder.mkdir()
    table = "\n".join(",".join(map(str, row)) for row in PROCESSORS)
    executable(folder / "lscpu", f"#!/bin/sh\necho '# CPU,Core,Socket,Node'\ncat <<'END'\n{table}\nEND\n")
    executable(folder / "taskset", '#!/bin/sh\necho "pid 1\'s current affinity list: ${ALLOWED:-0-15}"\n')
    executable(folder / "numactl", '#!/bin/sh\necho "$@"\n')
    executable(folder / "nvidia-smi", "#!/bin/sh\nexit 9\n")
    return folder


def bound(deploy, machine, *options: str, rank: int = 0, ranks: int = 2, code: int = 0, **environ: str) -> str:
    environ = {"LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(ranks), **environ}
    done = ran([deploy / "bind.sh", *options, "--", "train"], code=code, PATH=beside(machine), **environ)
    return (done.stdout or done.stderr).strip()


@pytest.mark.parametrize(
    ("options", "rank", "ranks", "binding"),
    [
        ((), 0, 2, "--physcpubind=0,8,1,9,2,10,3,11 --membind=0"),
        ((), 1, 2, "--physcpubind=4,12,5,13,6,14,7,15 --membind=1"),
        ((), 1, 4, "--physcpubind=2,10,3,11 --membind=0"),
        ((), 2, 3, "--physcpubind=4,12,5,13,6,14,7,15 --membind=1"),
        (("--cpu=exclusive,nosmt",), 1, 2, "--physcpubind=4,5,6,7 --membind=1"),
        (("--cpu=node",), 1, 4, "--physcpubind=0,8,1,9,2,10,3,11 --membind=0"),
        (("--cpu=node", "--mem=off"), 3, 4, "--physcpubind=4,12,5,13,6,14,7,15"),
        (("--cpu=off",), 1, 2, "--membind=1"),
    ],
)
def test_ranks_share_the_processors_out(deploy, machine, options, rank, ranks, binding):
    assert bound(deploy, machine, *options, rank=rank, ranks=ranks) == f"{binding} -- train"


@pytest.mark.parametrize("ranks", [1, 3, 8])
def test_exclusive_shares_neither_overlap_nor_leave_a_core_of_a_node_in_use(deploy, machine, ranks):
    shares = []
    for rank in range(ranks):
        words = bound(deploy, machine, "--cpu=exclusive", "--mem=off", rank=rank, ranks=ranks).split()
        shares.append({int(number) for number in words[0].partition("=")[2].split(",")})
    everything = set().union(*shares)
    assert sum(map(len, shares)) == len(everything)
    nodes = {number: node for number, _, _, node in PROCESSORS}
    used = {nodes[number] for number in everything}
    assert everything == {number for number, node in nodes.items() if node in used}


def test_only_processors_that_may_be_used_are_dealt_out(deploy, machine):
    given = {"ALLOWED": "2-5,12"}
    assert bound(deploy, machine, rank=0, **given) == "--physcpubind=2,3 --membind=0 -- train"
    assert bound(deploy, machine, rank=1, **given) == "--physcpubind=4,12,5 --membind=1 -- train"


def with_gpus(machine: Path, nodes: list[int]) -> dict[str, str]:
    """The machine with GPUs on these nodes, counted from PCI bus 0x3a."""
    buses = " ".join(f"{number}) echo 00000000:{0x3A + number:02X}:00.0 ;;" for number in range(len(nodes)))
    executable(machine / "nvidia-smi", f"#!/bin/bash\nid=${{@: -1}}\ncase ${{id#--id=}} in {buses} *) exit 6 ;; esac\n")
    for number, node in enumerate(nodes):
        folder = machine / f"sys/bus/pci/devices/0000:{0x3A + number:02x}:00.0"
        folder.mkdir(parents=True)
        (folder / "numa_node").write_text(f"{node}\n")
    return {"DS2PROF_SYSFS": str(machine / "sys")}


def test_a_rank_goes_where_its_gpu_is(deploy, machine):
    given = with_gpus(machine, [1, 0])
    assert (
        bound(deploy, machine, "--cpu=exclusive,nosmt", rank=0, **given) == "--physcpubind=4,5,6,7 --membind=1 -- train"
    )
    assert (
        bound(deploy, machine, "--cpu=exclusive,nosmt", rank=1, **given) == "--physcpubind=0,1,2,3 --membind=0 -- train"
    )


def test_gpus_on_one_node_share_its_cores(deploy, machine):
    given = with_gpus(machine, [1, 1])
    assert bound(deploy, machine, "--cpu=exclusive,nosmt", rank=1, **given) == "--physcpubind=6,7 --membind=1 -- train"


def test_the_visible_gpus_are_the_ranks_gpus(deploy, machine):
    given = {**with_gpus(machine, [0, 0, 1, 1]), "CUDA_VISIBLE_DEVICES": "2,0"}
    assert "--membind=1" in bound(deploy, machine, rank=0, **given)
    assert "--membind=0" in bound(deploy, machine, rank=1, **given)


def test_a_gpu_whose_node_is_not_known_leaves_the_order_of_the_nodes(deploy, machine):
    given = with_gpus(machine, [1, -1])
    assert "--membind=0" in bound(deploy, machine, rank=0, **given)
    assert "--membind=1" in bound(deploy, machine, rank=1, **given)


@pytest.mark.parametrize(
    "environ",
    [
        {"SLURM_LOCALID": "1", "SLURM_NTASKS_PER_NODE": "2"},
        {"SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "2(x4)"},
        {"OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"},
    ],
)
def test_the_rank_comes_from_whoever_started_it(deploy, machine, environ):
    done = ran([deploy / "bind.sh", "train"], PATH=beside(machine), **environ)
    assert "--membind=1" in done.stdout


def test_a_dry_run_of_bind_can_be_pasted(deploy, machine):
    command = [deploy / "bind.sh", "--dry-run", "--cpu=off", "--", "train", "a b"]
    done = ran(command, PATH=beside(machine), LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
    assert shlex.split(done.stdout) == ["numactl", "--membind=0", "--", "train", "a b"]


def test_without_a_binding_the_command_runs_as_it_is(deploy, tmp_path):
    assert ran([deploy / "bind.sh", "--cpu=off", "--mem=off", "echo", "hello"]).stdout == "hello\n"


@pytest.mark.parametrize(
    ("options", "environ", "said"),
    [
        (["--cpu=all"], {}, "is none of"),
        (["--mem=near"], {}, "is neither node nor off"),
        (["--bind"], {}, "unknown option"),
        ([], {"LOCAL_RANK": ""}, "which rank this is"),
        ([], {"LOCAL_WORLD_SIZE": ""}, "how many ranks"),
        ([], {"LOCAL_RANK": "2"}, "there is no such rank"),
    ],
)
def test_mistakes_in_binding_are_one_line(deploy, machine, options, environ, said):
    assert said in bound(deploy, machine, *options, code=2, **environ)


def test_a_binding_that_is_not_permitted_is_an_error_before_the_command(deploy, machine):
    refusal = "#!/bin/sh\necho 'set_mempolicy: Operation not permitted' >&2\nexit 1\n"
    executable(machine / "numactl", refusal)
    assert "--membind=0: set_mempolicy: Operation not permitted; in a container" in bound(deploy, machine, code=1)


def test_more_ranks_than_cores_are_refused(deploy, machine):
    assert "cores for" in bound(deploy, machine, rank=0, ranks=9, code=1)


# --- Slurm ---

SRUN = """#!/usr/bin/env bash
# Stands in for srun: writes down its arguments, and runs the tasks of one machine where FAKE_RUN is set.
printf '%q ' "$@" >>"$FAKE_ARGV"
echo >>"$FAKE_ARGV"
tasks=1
while [[ $1 == --* ]]; do
    case $1 in --ntasks=*) tasks=${1#*=} ;; esac
    shift
done
if [[ -z ${FAKE_RUN:-} ]]; then
    case $* in *"--seed ${FAKE_FAILS:-none}"*) exit 5 ;; *allreduce*) exit "${FAKE_LINKS:-0}" ;; esac
    exit 0
fi
export SLURM_NTASKS=$tasks SLURM_STEP_TASKS_PER_NODE="$tasks(x1)" SLURM_STEP_NUM_NODES=1
code=0
for ((each = 0; each < tasks; each++)); do
    SLURM_PROCID=$each SLURM_LOCALID=$each "$@" &
done
for ((each = 0; each < tasks; each++)); do
    wait -n && continue
    code=$?
    kill $(jobs -p) 2>/dev/null  # as --kill-on-bad-exit=1 has it
done
exit $code
"""


@pytest.fixture
def slurm(tmp_path):
    folder = tmp_path / "slurm"
    folder.mkdir()
    executable(folder / "srun", SRUN)
    executable(folder / "scontrol", "#!/bin/sh\n[ \"$*\" = 'show hostnames node[7-8]' ] && printf 'node7\\nnode8\\n'\n")
    return folder


def submitted(
    root, slurm, script: str, *options: str, code: int = 0, cwd: Path | None = None, **environ: str
) -> list[list[str]]:
    """The steps of the job, each as srun's arguments."""
    log = slurm / "argv"
    log.unlink(missing_ok=True)
    given = {
        "PATH": beside(slurm),
        "FAKE_ARGV": str(log),
        "DS2PROF_ROOT": str(root),
        "DS2PROF_PYTHON": sys.executable,
        "LOGDIR": str(slurm / "logs"),
        "SLURM_JOB_ID": "54321",
        "SLURM_GPUS_ON_NODE": "8",
        **environ,
    }
    # Slurm runs a copy of the script from a folder of its own.
    copy = shutil.copy(root / "deploy/slurm" / script, slurm / "slurm_script")
    submitted.done = ran(["bash", copy, *options], code=code, cwd=cwd, **given)
    return [shlex.split(line) for line in log.read_text().splitlines()] if log.exists() else []


def test_a_job_checks_the_links_and_trains_one_task_for_each_gpu(root, slurm):
    check, train = submitted(root, slurm, "train.sbatch", "--preset", "tbd", "--train-manifest", "/a b/c.csv")
    spread = ["--mpi=none", "--kill-on-bad-exit=1", "--nodes=1", "--ntasks=8", "--ntasks-per-node=8"]
    bind = [f"{root}/deploy/rank.sh", f"{root}/deploy/bind.sh", "--cpu=exclusive", "--mem=node", "--"]
    assert check == [*spread, *bind, sys.executable, "-m", "ds2prof", "bench", "allreduce", "--sizes", "1M 8M 64M 256M"]
    train_words = ["train", "--seed", "1", "--preset", "tbd", "--train-manifest", "/a b/c.csv"]
    assert train == [*spread, *bind, sys.executable, "-m", "ds2prof", *train_words]


def test_a_container_is_made_once_on_each_machine_and_used_by_every_step(root, slurm, tmp_path):
    steps = submitted(
        *(root, slurm, "train_pyxis.sbatch", "--preset", "tbd"),
        CONT="/images/ds2prof.sqsh",
        DATADIR="/mnt/libri",
        CHECKPOINTS="/mnt/ck",
        MOUNTS="/x:/y",
        NEXP="3",
        SEED="7",
        SLURM_JOB_NUM_NODES="2",
        SLURM_JOB_NODELIST="node[7-8]",
    )
    assert steps[0] == [
        *("--mpi=none", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"),
        *("--container-image=/images/ds2prof.sqsh", "--container-name=ds2prof_54321", "true"),
    ]
    mounts = f"--container-mounts={slurm}/logs:/measurements,/mnt/libri:/data:ro,/mnt/ck:/checkpoints,/x:/y"
    assert len(steps) == 1 + 1 + 3
    for step in steps[1:]:
        assert step[2:5] == ["--nodes=2", "--ntasks=16", "--ntasks-per-node=8"]
        assert {"--container-name=ds2prof_54321", mounts} <= set(step)
        assert not any(word.startswith("--container-image") for word in step)
        assert "/opt/ds2prof/deploy/rank.sh" in step
    seeds = [step[step.index("--seed") + 1] for step in steps[2:]]
    assert seeds == ["7", "8", "9"]
    assert [step[step.index("--checkpoint-dir") + 1] for step in steps[2:]] == [
        f"/checkpoints/seed_{seed}" for seed in seeds
    ]


def test_the_masters_address_is_the_first_machine_and_its_port_the_jobs(root, slurm):
    executable(slurm / "srun", '#!/bin/sh\necho "$MASTER_ADDR:$MASTER_PORT" >>"$FAKE_ARGV"\n')
    given = {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "node[7-8]"}
    assert submitted(root, slurm, "train.sbatch", **given) == [["node7:34321"]] * 2
    assert submitted(root, slurm, "train.sbatch") == [["127.0.0.1:34321"]] * 2


def test_a_capture_is_one_of_each_rank(root, slurm):
    (step,) = submitted(root, slurm, "train.sbatch", "--preset", "tbd", PROFILE="nsys", NCCL_CHECK="0")
    words = step[step.index("--") + 1 :]
    assert words[:6] == [sys.executable, "-m", "ds2prof", "run", "nsys", "--tag"]
    assert words[7:] == ["--", sys.executable, f"{root}/train_profiling.py", "--seed", "1", "--preset", "tbd"]


@pytest.mark.parametrize(("profiler", "ending"), [("torch", ".json.gz"), ("memory", ".csv")])
def test_pytorchs_own_profilers_are_the_training_scripts(root, slurm, profiler, ending):
    given = {"PROFILE": profiler, "NCCL_CHECK": "0", "DS2PROF_MEASUREMENTS": "/m"}
    (step,) = submitted(root, slurm, "train.sbatch", "--preset", "tbd", **given)
    words = step[step.index("--") + 1 :]
    assert words[:6] == [sys.executable, f"{root}/train_profiling.py", "--seed", "1", "--profiler", profiler]
    assert words[6] == "--output"
    assert words[7].startswith(f"/m/{profiler}_")
    assert words[7].endswith(f"-1{ending}")
    assert words[8:] == ["--preset", "tbd"]


def test_the_check_of_the_links_can_be_made_a_gate(root, slurm):
    steps = submitted(root, slurm, "train.sbatch", NCCL_AT_LEAST="180", FAKE_LINKS="3", code=1)
    assert len(steps) == 1
    assert steps[0][-2:] == ["--at-least", "180"]
    assert "the check of the links failed" in submitted.done.stderr


def test_nvidias_own_check_is_run_where_it_is_named(root, slurm):
    steps = submitted(root, slurm, "train.sbatch", ALL_REDUCE_PERF="/opt/all_reduce_perf_mpi")
    assert steps[1][0] == "--mpi=pmix"
    assert steps[1][-7:] == ["/opt/all_reduce_perf_mpi", "-b", "1M", "-e", "256M", "-f", "4"]


def test_one_gpu_has_no_links_to_check(root, slurm):
    assert len(submitted(root, slurm, "train.sbatch", GPUS_PER_NODE="1")) == 1


def test_a_failed_trial_does_not_keep_the_others_and_its_code_is_the_jobs(root, slurm):
    steps = submitted(root, slurm, "train.sbatch", NEXP="3", NCCL_CHECK="0", FAKE_FAILS="2", code=5)
    assert len(steps) == 3
    assert "trial 2 of 3 failed with 5" in submitted.done.stderr
    assert len(list((slurm / "logs").glob("*_3.log"))) == 1


def test_page_caches_are_emptied_before_each_trial_where_asked(root, slurm):
    steps = submitted(root, slurm, "train.sbatch", NEXP="2", NCCL_CHECK="0", CLEAR_CACHES="1")
    assert ["vm.drop_caches" in " ".join(step) for step in steps] == [True, False, True, False]


def test_a_dry_run_needs_no_slurm(root, tmp_path):
    done = ran(
        ["bash", root / "deploy/slurm/train_pyxis.sbatch", "--preset", "tbd"],
        DRY_RUN="1",
        CONT="x.sqsh",
        GPUS_PER_NODE="4",
        DS2PROF_ROOT=str(root),
        LOGDIR=str(tmp_path / "logs"),
    )
    words = [line.split()[0] for line in done.stdout.splitlines()]
    assert words == ["export"] * 4 + ["srun"] * 3
    assert list(tmp_path.iterdir()) == []


def test_a_printed_job_runs_as_it_is_pasted(root, slurm):
    given = {"NCCL_CHECK": "0", "DS2PROF_MEASUREMENTS": "/m and m"}
    (step,) = submitted(root, slurm, "train.sbatch", "--preset", "t b", **given)
    submitted(root, slurm, "train.sbatch", "--preset", "t b", DRY_RUN="1", **given)
    executable(slurm / "srun", '#!/bin/bash\nprintf "%s\\n" "$MASTER_PORT" "$DS2PROF_MEASUREMENTS" "$PWD" "$@"\n')
    pasted = ran(["bash", "-euc", submitted.done.stdout], PATH=beside(slurm))
    assert pasted.stdout.splitlines() == ["34321", "/m and m", str(root), *step]


def test_folders_that_are_given_relatively_mean_where_the_job_was_submitted(root, slurm, tmp_path):
    given = {"LOGDIR": "here/logs", "CHECKPOINTS": "ck", "DS2PROF_ROOT": os.path.relpath(root, tmp_path)}
    (step,) = submitted(root, slurm, "train.sbatch", NCCL_CHECK="0", cwd=tmp_path, **given)
    assert step[step.index("--checkpoint-dir") + 1] == f"{tmp_path}/ck/seed_1"
    assert f"{root}/deploy/rank.sh" in step
    assert len(list((tmp_path / "here/logs").iterdir())) == 1


@pytest.mark.parametrize(
    ("script", "environ", "said"),
    [
        ("train.sbatch", {"SLURM_GPUS_ON_NODE": ""}, "GPUS_PER_NODE is not set"),
        ("train.sbatch", {"NEXP": "many"}, "give the number of trials"),
        ("train.sbatch", {"PROFILE": "vtune"}, "neither train nor a profiler"),
        ("train.sbatch", {"DS2PROF_PYTHON": "/no/python"}, "there is no such Python"),
        ("train.sbatch", {"DS2PROF_ROOT": "/"}, "is no checkout"),
        ("train_pyxis.sbatch", {}, "CONT is not set"),
    ],
)
def test_a_job_that_cannot_work_ends_before_its_first_step(root, slurm, script, environ, said):
    assert submitted(root, slurm, script, code=2, **environ) == []
    assert said in submitted.done.stderr


@pytest.mark.slow
def test_two_ranks_really_start_meet_train_and_are_captured_under_the_job(root, slurm):
    pytest.importorskip("torch", reason="the package torch is not installed")
    if shutil.which("numactl") is None:
        pytest.skip("the tool numactl is not installed")
    submitted(
        *(root, slurm, "train.sbatch", "--preset", "tiny", "--batch-size", "2", "--device", "cpu"),
        *("--profile-start", "1", "--profile-stop", "2"),
        GPUS_PER_NODE="2",
        PROFILE="torch",
        NCCL_CHECK="0",
        FAKE_RUN="1",
        OMP_NUM_THREADS="1",
        BIND_CPU="node" if len(os.sched_getaffinity(0)) < 2 else "exclusive",
        BIND_MEM="off",
        DS2PROF_MEASUREMENTS=str(slurm / "measurements"),
    )
    written = sorted(path.name for path in (slurm / "measurements").glob("*.json.gz"))
    assert len(written) == 2
    assert [name.rpartition("_")[2] for name in written] == ["rank0.json.gz", "rank1.json.gz"]
