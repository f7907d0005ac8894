"""Checkpoints: whole or not there, the right ones kept, damage noticed, nothing in them run."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the package torch is a tool that these tests need")

from ds2prof.errors import CaptureError, Ds2profError, ExistsError, ReadError
from ds2prof.train.checkpoints import (
    BEST,
    LATEST,
    CheckpointFolder,
    load_weights,
    read_checkpoint,
    require_same,
    write_durably,
)


def values(iteration: int = 1, epoch: int = 0, **changes):
    return {
        "tool_version": "1",
        "torch_version": "2",
        "preset": "nano",
        "preset_config": "{}",
        "symbols": {},
        "run": {},
        "epoch": epoch,
        "batch": 0,
        "iteration": iteration,
        "best_wer": None,
        "history": [],
        "progress": {},
        "model": {"weight": torch.arange(600.0).reshape(20, 30), "bias": torch.ones(20)},
        "optimizer": {},
        "scaler": None,
        "average": None,
        "ranks": [],
        **changes,
    }


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("epoch*.pt"))


def test_what_was_written_is_read_again(tmp_path):
    written = values(7, epoch=2, best_wer=0.25, history=[{"epoch": {"loss": 1.5}}])
    path = CheckpointFolder(tmp_path).write(written, best=False)
    found = read_checkpoint(path)
    assert path.name == "epoch0002_step00000007.pt"
    assert torch.equal(found["model"]["weight"], written["model"]["weight"])
    assert {name: found[name] for name in written if name != "model"} == {
        name: value for name, value in written.items() if name != "model"
    }


def test_the_newest_are_kept_and_the_best_besides(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=2)
    for iteration in range(1, 6):
        folder.write(values(iteration), best=iteration == 2)
    assert names(tmp_path) == [f"epoch0000_step{number:08d}.pt" for number in (2, 4, 5)]
    assert (tmp_path / LATEST).resolve().name == "epoch0000_step00000005.pt"
    assert (tmp_path / BEST).resolve().name == "epoch0000_step00000002.pt"
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_keeping_none_in_number_keeps_all(tmp_path):
    folder = CheckpointFolder(tmp_path, keep=0)
    for iteration in range(1, 6):
        folder.write(values(iteration), best=False)
    assert len(names(tmp_path)) == 5


def test_files_of_others_stay(tmp_path):
    (tmp_path / "epoch1.pt").write_text("mine")
    folder = CheckpointFolder(tmp_path, keep=1)
    for iteration in (1, 2):
        folder.write(values(iteration), best=False)
    assert (tmp_path / "epoch1.pt").read_text() == "mine"


def test_a_file_system_without_links_gets_second_names(tmp_path, monkeypatch):
    def refuse(self, target):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    folder = CheckpointFolder(tmp_path, keep=1)
    for iteration in (1, 2, 3):
        folder.write(values(iteration), best=iteration == 1)
    assert names(tmp_path) == ["epoch0000_step00000001.pt", "epoch0000_step00000003.pt"]
    assert read_checkpoint(tmp_path / LATEST)["iteration"] == 3
    assert read_checkpoint(tmp_path / BEST)["iteration"] == 1


@pytest.mark.parametrize("kept_share", [0.0, 0.3, 0.99])
def test_a_file_that_is_cut_off_is_passed_over_for_the_one_before(tmp_path, kept_share):
    folder = CheckpointFolder(tmp_path)
    for iteration in (1, 2):
        newest = folder.write(values(iteration), best=False)
    whole = newest.read_bytes()
    newest.write_bytes(whole[: int(len(whole) * kept_share)])
    said: list[str] = []
    assert folder.newest(said.append)["iteration"] == 1
    assert len(said) == 1
    assert said[0].startswith(f"{newest}: ")
    assert said[0].endswith("; passed over")


def test_one_wrong_bit_in_a_weight_is_noticed(tmp_path):
    path = CheckpointFolder(tmp_path).write(values(), best=False)
    stored = bytearray(path.read_bytes())
    place = stored.index(torch.arange(600.0).numpy().tobytes()) + 1000
    stored[place] ^= 1
    path.write_bytes(stored)
    with pytest.raises(ReadError, match="is not as it was written"):
        read_checkpoint(path)


def test_a_folder_of_damaged_checkpoints_is_an_error_and_an_empty_one_is_not(tmp_path):
    folder = CheckpointFolder(tmp_path)
    assert folder.newest(print) is None
    folder.write(values(), best=False).write_bytes(b"")
    with pytest.raises(ReadError, match="none of its 1 checkpoints can be read"):
        folder.newest(lambda line: None)


def test_a_process_that_died_while_writing_leaves_nothing_that_is_read(tmp_path):
    CheckpointFolder(tmp_path).write(values(1), best=False)
    code = (
        "import os, sys; from pathlib import Path; from ds2prof.train.checkpoints import write_durably\n"
        "def die(file):\n    file.write(b'PK' * 5000); file.flush(); os.kill(os.getpid(), 9)\n"
        "write_durably(Path(sys.argv[1]), die)"
    )
    target = tmp_path / "epoch0000_step00000002.pt"
    done = subprocess.run([sys.executable, "-c", code, str(target)], check=False, cwd=Path(__file__).parent.parent)
    assert done.returncode == -9
    assert len([path for path in tmp_path.iterdir() if "partial" in path.name]) == 1
    assert CheckpointFolder(tmp_path).newest(print)["iteration"] == 1
    assert not [path for path in tmp_path.iterdir() if "partial" in path.name]


def test_a_write_that_fails_leaves_what_was_there(tmp_path):
    path = tmp_path / "epoch0000_step00000001.pt"
    path.write_text("before")

    def fail(file):
        file.write(b"half")
        raise RuntimeError("No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_durably(path, fail)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CaptureError, match="cannot be written: "):
        CheckpointFolder(tmp_path / "file" / "checkpoints").write(values(), best=False)


class Runs:
    """Makes a file when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    path, witness = tmp_path / "hostile.pt", tmp_path / "witness"
    torch.save({**values(), "schema": "ds2prof-checkpoint/1", "model": Runs(str(witness))}, path)
    with pytest.raises(ReadError, match="something else than tensors and plain values"):
        read_checkpoint(path)
    assert not witness.exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema": "other/1"}, "is not a checkpoint of ds2prof train"),
        ({"epoch": "3"}, "its 'epoch' is missing or of another type"),
        ({"model": None}, "its 'model' is missing or of another type"),
        ({"iteration": -1}, "stands before the beginning"),
    ],
)
def test_a_file_of_other_contents_is_one_line(tmp_path, changes, reason):
    path = tmp_path / "other.pt"
    torch.save({"schema": "ds2prof-checkpoint/1", **values(), **changes}, path)
    with pytest.raises(ReadError, match=reason) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_missing_field_is_noticed(tmp_path):
    path = tmp_path / "other.pt"
    lacking = values()
    del lacking["optimizer"]
    torch.save({"schema": "ds2prof-checkpoint/1", **lacking}, path)
    with pytest.raises(ReadError, match="its 'optimizer' is missing"):
        read_checkpoint(path)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 1_000_000)
    with pytest.raises(ReadError, match="is compressed"):
        read_checkpoint(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(ReadError, match="No such file"):
        read_checkpoint(tmp_path / "nothing.pt")


def test_weights_of_another_network_are_one_line(tmp_path):
    path = CheckpointFolder(tmp_path).write(values(), best=False)
    with pytest.raises(ReadError, match="the weights do not fit") as caught:
        load_weights(torch.nn.Linear(3, 3), read_checkpoint(path))
    assert "\n" not in str(caught.value)


def test_a_new_run_does_not_begin_among_the_checkpoints_of_another(tmp_path):
    folder = CheckpointFolder(tmp_path)
    folder.require_empty()
    folder.write(values(), best=False)
    with pytest.raises(ExistsError, match="--resume auto"):
        folder.require_empty()


def test_what_differs_is_named_by_its_option():
    require_same({"batch_size": 4}, {"batch_size": 4}, where="here")
    with pytest.raises(Ds2profError, match="here: was written with --batch-size 4, not 8"):
        require_same({"batch_size": 4}, {"batch_size": 8}, where="here")
