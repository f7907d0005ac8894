"""Evaluation and transcription: by networks that say what the test wants, and by real ones with random weights."""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import asdict, replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the package torch is not installed")
pytest.importorskip("rapidfuzz", reason="the package rapidfuzz is not installed")

from click.testing import CliRunner

from ds2prof.cli import cli
from ds2prof.errors import ReadError, UsageError
from ds2prof.speech.alphabet import GRAPHEMES
from ds2prof.speech.audio import write_wav
from ds2prof.speech.error_rates import total
from ds2prof.speech.feature_config import LOG_SPECTROGRAM, STACKED_LOG_MEL
from ds2prof.train.batches import Features, collate
from ds2prof.train.checkpoints import CheckpointFolder
from ds2prof.train.decoding import Decoded
from ds2prof.train.device import Device
from ds2prof.train.evaluation import evaluate, evaluating
from ds2prof.train.presets import PRESETS, Convolution
from ds2prof.train.tasks import CtcTask, build_network, task_for
from ds2prof.train.trained import Trained, open_trained, shapes_of
from ds2prof.train.transcribing import quietest, stretches, transcribe, without_silence

HOST = Device(torch.device("cpu"))
RATE_HZ = 16_000


class Parrot(torch.nn.Module):
    """Says what its input spells: one symbol in each frame, the one whose bin is greatest."""

    def __init__(self):
        super().__init__()
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, spect_BFT, frames_B, frame_counts):
        return 20 * spect_BFT.permute(2, 0, 1)[:, :, :29], list(frame_counts)

    def output_frames(self, frame_counts):
        return list(frame_counts)


def spelled(number, heard, said=None):
    """An utterance that a parrot hears as ``heard``; a blank lies between all symbols."""
    path = [symbol for label in GRAPHEMES.encode(heard) for symbol in (label, 0)] or [0]
    features_FT = np.zeros((29, len(path)), np.float32)
    features_FT[path, range(len(path))] = 1
    said = heard if said is None else said
    return Features(number, features_FT, GRAPHEMES.encode(said), said)


SPOKEN = [
    spelled(0, "HELLO WORLD"),
    spelled(1, "ONE TWO TREE", "ONE TWO THREE FOUR"),
    spelled(2, "", "SILENCE"),
    spelled(3, "IT'S A NOISE", ""),
]
"""Word errors: 0 of 2, 2 of 4, 1 of 1, 3 of 0."""


def evaluated(utterances=SPOKEN, *, batch_size=2, network=None, **options):
    ordered = sorted(utterances, key=lambda each: -each.features_FT.shape[1])
    batches = [collate(ordered[at : at + batch_size], pin_memory=False) for at in range(0, len(ordered), batch_size)]
    return evaluate(CtcTask(), network or Parrot(), batches, GRAPHEMES, device=HOST, precision="fp32", **options)


def test_an_evaluation_counts_every_utterance_and_compares_it_with_its_own_text():
    found = evaluated()
    assert [each.number for each in found.heard] == [0, 1, 2, 3]
    assert [each.hypothesis for each in found.heard] == ["HELLO WORLD", "ONE TWO TREE", "", "IT'S A NOISE"]
    assert found.wer == 6 / 7
    assert found.mean_utterance_wer == pytest.approx((0 + 2 / 4 + 1) / 3)
    assert found.facts()["empty_references"] == 1
    assert found.audio_s == pytest.approx(sum(each.features_FT.shape[1] for each in SPOKEN) / 100)


def test_the_task_reads_the_same_off_by_itself():
    batch = collate(SPOKEN, pin_memory=False)
    said = CtcTask().greedy(Parrot().eval(), batch)
    texts = ["HELLO WORLD", "ONE TWO TREE", "", "IT'S A NOISE"]
    assert said == [GRAPHEMES.encode(texts[number]).tolist() for number in batch.numbers]


def test_the_loss_is_the_mean_over_utterances_of_their_own():
    def own(utterance):
        log_probs_TV = torch.log_softmax(20 * torch.from_numpy(utterance.features_FT.T), dim=-1)
        labels = torch.from_numpy(utterance.labels)
        return torch.nn.functional.ctc_loss(
            log_probs_TV[:, None], labels, [len(log_probs_TV)], [len(labels)], reduction="sum", zero_infinity=True
        )

    expected = sum(float(own(each)) for each in SPOKEN) / len(SPOKEN)
    assert evaluated(batch_size=3).loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_a_networks_result_does_not_depend_on_the_batch_size(batch_size):
    torch.manual_seed(3)
    preset = PRESETS["tiny"]
    network = build_network(replace(preset, model=replace(preset.model, hidden=16)))
    stream = np.random.default_rng(2)
    utterances = [
        Features(
            number, stream.standard_normal((161, 40 + 13 * number), dtype=np.float32), GRAPHEMES.encode("A BC"), "A BC"
        )
        for number in range(5)
    ]
    whole, parts = (evaluated(utterances, batch_size=each, network=network) for each in (5, batch_size))
    assert [each.hypothesis for each in parts.heard] == [each.hypothesis for each in whole.heard]
    assert parts.counts == whole.counts
    assert parts.loss == pytest.approx(whole.loss, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_what_is_too_short_for_the_network_is_an_utterance_that_was_not_heard(batch_size):
    torch.manual_seed(3)
    preset = PRESETS["mlperf"]
    thin = tuple(replace(each, channels=2) for each in preset.model.convolutions)
    network = build_network(replace(preset, model=replace(preset.model, hidden=8, convolutions=thin)))
    utterances = [
        Features(number, np.zeros((161, frames), np.float32), GRAPHEMES.encode("A"), "A")
        for number, frames in enumerate((60, 9))
    ]
    found = evaluated(utterances, batch_size=batch_size, network=network)
    assert found.heard[1].hypothesis == ""
    assert found.counts.utterances == 2
    assert found.loss == pytest.approx(evaluated(utterances[:1], network=network).loss / 2)


class Others:
    """The ranks that have found what is given."""

    def __init__(self, found):
        self.found = found

    def gathered(self, value):
        self.found.append(value)
        return list(self.found)


def test_ranks_with_unequal_parts_find_what_one_process_finds():
    whole = evaluated()
    found = []
    evaluated(SPOKEN[:3], ranks=Others(found))
    together = evaluated(SPOKEN[3:], ranks=Others(found))
    assert len(found) == 2
    assert together.counts == whole.counts
    assert together.heard == whole.heard
    assert together.loss == pytest.approx(whole.loss)


def test_a_rank_without_any_batch_takes_part():
    found = []
    evaluated(ranks=Others(found))
    assert evaluated([], ranks=Others(found)).counts == evaluated().counts


def test_without_texts_the_labels_are_the_reference():
    bare = [replace(each, text=None) for each in SPOKEN]
    assert evaluated(bare).counts == evaluated().counts


def test_the_networks_modes_are_given_back_even_behind_an_error():
    network = Parrot()
    network.dropout.eval()

    def fail():
        with evaluating(network):
            modes.append((network.training, network.dropout.training, torch.is_grad_enabled()))
            raise ZeroDivisionError

    modes = []
    with pytest.raises(ZeroDivisionError):
        fail()
    assert modes == [(False, False, False)]
    assert (network.training, network.dropout.training, torch.is_grad_enabled()) == (True, False, True)


def test_a_decoder_reads_the_networks_output():
    def decoder(logits_TBV, counts):
        return [Decoded((2,), (0,), (0,), -1.5) for _ in counts]

    found = evaluated(decoder=decoder)
    assert {(each.hypothesis, each.score) for each in found.heard} == {("A", -1.5)}


def test_a_transducer_is_evaluated_by_its_own_decoding():
    preset = PRESETS["rnnt"]
    small = replace(preset.model, encoder_hidden=8, prediction_hidden=8, joint_hidden=8, pieces=29, input_features=29)
    torch.manual_seed(1)
    preset = replace(preset, model=small)
    network = build_network(preset)
    batches = [collate(SPOKEN, pin_memory=False)]
    options = {"device": HOST, "precision": "fp32"}
    found = evaluate(task_for(preset), network, batches, GRAPHEMES, **options)
    assert found.counts.words.reference == 7
    assert found.loss > 0
    with pytest.raises(UsageError, match="a transducer is decoded greedily"):
        evaluate(task_for(preset), network, batches, GRAPHEMES, decoder=lambda *_: [], **options)


# ---- transcription


class Listener(torch.nn.Module):
    """Hears tones: the letters A to D where the bins of 1 to 4 kHz are loud, else the space; one frame is 20 ms."""

    def forward(self, spect_BFT, frames_B, frame_counts):
        tones_TBF = spect_BFT[:, [20, 40, 60, 80], ::2].permute(2, 0, 1)
        logits_TBV = torch.zeros(*tones_TBF.shape[:2], 29)
        logits_TBV[..., 28] = 2.0
        logits_TBV[..., 2:6] = 2 * tones_TBF
        return logits_TBV, self.output_frames(frame_counts)

    def output_frames(self, frame_counts):
        return [(count + 1) // 2 for count in frame_counts]


def listener(**features):
    preset = PRESETS["tiny"]
    model = replace(preset.model, convolutions=(Convolution(1, (1, 1), (1, 2), (0, 0)),))
    preset = replace(preset, model=model, features=replace(LOG_SPECTROGRAM, **features))
    return Trained(preset, Listener().eval(), CtcTask(), GRAPHEMES, averaged=False, epoch=0, iteration=0)


def tones(*parts, rate_hz=RATE_HZ):
    """Tones (letter, beginning, end) in s, over silence."""
    length = round(rate_hz * (max(end for _, _, end in parts) + 0.4))
    samples = 1e-4 * np.random.default_rng(1).standard_normal(length)
    for letter, begin, end in parts:
        at = np.arange(round(rate_hz * begin), round(rate_hz * end))
        samples[at] += 0.5 * np.sin(2 * np.pi * 1000 * ("ABCD".index(letter) + 1) * at / rate_hz)
    return samples.astype(np.float32)


SAID = (("A", 0.3, 0.5), ("B", 0.5, 0.8), ("D", 1.2, 1.5), ("C", 2.0, 2.3))


def recorded(path, said=SAID, *, rate_hz=RATE_HZ):
    write_wav(path, tones(*said, rate_hz=rate_hz), rate_hz)
    return path


@pytest.mark.parametrize("rate_hz", [16_000, 11_025, 44_100])
def test_recordings_of_any_rate_are_heard_where_they_sound(tmp_path, rate_hz):
    if rate_hz != RATE_HZ:
        pytest.importorskip("soxr", reason="the package soxr is not installed")
    path = recorded(tmp_path / "said.wav", rate_hz=rate_hz)
    (found,) = transcribe(listener(), [path], device=HOST)
    assert found.text == "AB D C"
    assert found.dur_s == pytest.approx(2.7, abs=1e-3)
    offsets = [(word.start_s, word.end_s) for word in found.words]
    assert np.array(offsets) == pytest.approx(np.array([(0.3, 0.8), (1.2, 1.5), (2.0, 2.3)]), abs=0.021)


def test_a_long_recording_is_cut_where_it_is_quiet_and_its_offsets_go_on(tmp_path):
    said = [("ABCD"[number % 4], 0.7 * number + 0.2, 0.7 * number + 0.5) for number in range(20)]
    path = recorded(tmp_path / "long.wav", said)
    (found,) = transcribe(listener(), [path], device=HOST, longest_s=3.0, batch_size=2)
    assert found.text == " ".join(letter for letter, _, _ in said)
    for word, (_, begin, end) in zip(found.words, said, strict=True):
        assert (word.start_s, word.end_s) == pytest.approx((begin, end), abs=0.021)


def test_stretches_are_the_recording_cut_without_a_gap(tmp_path):
    path = recorded(tmp_path / "said.wav")
    cut = list(stretches(path, RATE_HZ, longest_s=1.0))
    assert len(cut) > 2
    assert [each.last for each in cut] == [False] * (len(cut) - 1) + [True]
    whole = np.concatenate([each.samples for each in cut])
    assert len(whole) == round(2.7 * RATE_HZ)
    assert np.abs(whole - tones(*SAID)).max() < 1e-4
    starts = np.cumsum([0] + [len(each.samples) for each in cut[:-1]]) / RATE_HZ
    assert [each.start_s for each in cut] == pytest.approx(starts)


def test_the_quietest_place_lies_in_the_second_half():
    samples = np.ones(RATE_HZ, np.float32)
    samples[1000:5000] = 0
    samples[12_000:14_000] = 0.1
    assert 12_800 <= quietest(samples, RATE_HZ) <= 13_200
    assert quietest(np.zeros(RATE_HZ, np.float32), RATE_HZ) == RATE_HZ - 800


def test_several_recordings_come_in_their_order_whatever_their_lengths(tmp_path):
    paths = [recorded(tmp_path / f"{number}.wav", SAID[: number % 4 + 1]) for number in range(7)]
    found = list(transcribe(listener(), paths, device=HOST, batch_size=3, longest_s=2.0))
    assert [each.path for each in found] == paths
    assert [each.text for each in found] == [["A", "AB", "AB D", "AB D C"][number % 4] for number in range(7)]


def test_what_is_too_short_says_nothing(tmp_path):
    class Deaf(Listener):
        def output_frames(self, frame_counts):
            return [max(each - 5, 0) for each in frame_counts]

    path = tmp_path / "short.wav"
    write_wav(path, np.zeros(500, np.float32), RATE_HZ)
    (found,) = transcribe(replace(listener(), network=Deaf()), [path], device=HOST)
    assert (found.text, found.words) == ("", ())


def test_a_file_that_is_no_sound_is_said_before_anything_is_computed(tmp_path):
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"no sound")
    with pytest.raises(ReadError, match=r"bad\.wav: "):
        next(transcribe(listener(), [recorded(tmp_path / "a.wav"), bad], device=HOST))


def test_silence_that_features_cut_off_moves_no_offset():
    samples = np.concatenate([np.zeros(RATE_HZ, np.float32), tones(("A", 0.0, 0.5))])
    left, skipped_s = without_silence(samples, STACKED_LOG_MEL)
    assert 0.85 < skipped_s <= 1.0
    assert np.array_equal(left, samples[round(skipped_s * RATE_HZ) :][: len(left)])
    assert without_silence(left, STACKED_LOG_MEL) == (pytest.approx(left), 0.0)
    assert without_silence(samples, LOG_SPECTROGRAM)[1] == 0.0


# ---- from a checkpoint, by the commands


def written_checkpoint(folder, network, preset, *, average=None, symbols=None):
    characters = GRAPHEMES.symbols
    return CheckpointFolder(folder).write(
        {
            "tool_version": "0",
            "torch_version": str(torch.__version__),
            "preset": preset.name,
            "preset_config": json.dumps(asdict(preset)),
            "symbols": symbols or {"size": 29, "sha256": None, "characters": "".join(characters)},
            "run": {},
            "epoch": 2,
            "batch": 0,
            "iteration": 30,
            "best_wer": None,
            "history": [],
            "progress": {},
            "model": network.state_dict(),
            "optimizer": {},
            "scaler": None,
            "average": average,
            "ranks": [],
        },
        best=True,
    )


@pytest.fixture
def trained(tmp_path):
    """A folder of checkpoints of a narrow tiny, with random weights."""
    preset = PRESETS["tiny"]
    preset = replace(preset, model=replace(preset.model, hidden=16))
    torch.manual_seed(4)
    network = build_network(preset)
    written_checkpoint(tmp_path / "checkpoints", network, preset)
    return tmp_path / "checkpoints"


@pytest.fixture
def manifest(tmp_path):
    for number in range(3):
        recorded(tmp_path / f"{number}.wav", SAID[: number + 1])
        (tmp_path / f"{number}.txt").write_text("AB D C\n")
    path = tmp_path / "corpus.csv"
    path.write_text("".join(f"{number}.wav,{number}.txt\n" for number in range(3)))
    return path


def run(*arguments):
    return CliRunner().invoke(cli, list(map(str, arguments)))


def test_a_checkpoint_is_the_network_that_was_trained(trained):
    found = open_trained(trained, HOST)
    assert (found.preset.model.hidden, found.epoch, found.iteration, found.averaged) == (16, 2, 30, False)
    assert found.preset == replace(PRESETS["tiny"], model=found.preset.model)
    assert found.symbols == GRAPHEMES
    assert not found.network.training


def test_every_preset_comes_back_from_a_checkpoint_as_it_went_in(tmp_path):
    from ds2prof.train.checkpoints import Checkpoint
    from ds2prof.train.trained import preset_of

    for preset in PRESETS.values():
        values = {"preset": preset.name, "preset_config": json.dumps(asdict(preset))}
        assert preset_of(Checkpoint(tmp_path, values)) == preset


def test_the_running_average_is_the_network_where_there_is_one(tmp_path):
    preset = PRESETS["tiny"]
    preset = replace(preset, model=replace(preset.model, hidden=8))
    torch.manual_seed(4)
    network, other = build_network(preset), build_network(preset)
    average = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    path = written_checkpoint(
        tmp_path, network, preset, average={name: each.detach() for name, each in average.items()}
    )
    for weights, expected in (("auto", other), ("average", other), ("last", network)):
        found = open_trained(path, HOST, weights=weights)
        assert found.averaged == (expected is other)
        assert all(
            torch.equal(mine, theirs)
            for mine, theirs in zip(found.network.parameters(), expected.parameters(), strict=True)
        )


@pytest.mark.parametrize(
    "config", ["", "{}", "[]", '{"model": {"convolutions": [3]}}', json.dumps(asdict(PRESETS["tiny"]) | {"model": {}})]
)
def test_a_preset_that_is_not_known_is_one_line(tmp_path, config):
    from ds2prof.train.checkpoints import Checkpoint
    from ds2prof.train.trained import preset_of

    with pytest.raises(ReadError, match="does not know"):
        preset_of(Checkpoint(tmp_path, {"preset": "x", "preset_config": config}))


@pytest.mark.parametrize(
    ("name", "narrow"),
    [
        ("tiny", {"hidden": 8}),
        ("deepmark", {"hidden": 8, "fully_connected": (8,)}),
        ("rnnt", {"encoder_hidden": 8, "prediction_hidden": 8, "joint_hidden": 8}),
    ],
)
def test_the_shapes_of_weights_are_those_of_the_network(name, narrow):
    preset = replace(PRESETS[name], model=replace(PRESETS[name].model, **narrow))
    assert shapes_of(preset) == {name: tuple(each.shape) for name, each in build_network(preset).state_dict().items()}


@pytest.mark.parametrize("change", [{"hidden": 17}, {"hidden": 10**7}, {"hidden": "x"}, {"cell": "no-such"}])
def test_a_checkpoint_that_promises_another_network_is_one_line_and_no_memory(trained, change):
    preset = open_trained(trained, HOST).preset
    network = build_network(preset)
    promised = replace(preset, model=replace(preset.model, **change))
    path = written_checkpoint(trained.parent / "other", network, promised)
    with pytest.raises(ReadError, match=r"epoch0002_step00000030\.pt: its (weights|network)"):
        open_trained(path, HOST)


def test_evaluate_says_the_same_in_json_in_a_table_and_for_each_utterance(trained, manifest, tmp_path):
    options = ("evaluate", "--checkpoint", trained, "--manifest", manifest, "--device", "cpu")
    done = run(*options, "--format", "json", "--per-utterance", tmp_path / "heard.csv")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    rows = list(csv.DictReader((tmp_path / "heard.csv").open()))
    assert [row["reference"] for row in rows] == ["AB D C"] * 3
    assert document["wer"] == sum(int(row["word_errors"]) for row in rows) / sum(int(row["words"]) for row in rows)
    assert (document["utterances"], document["decoder"], document["epoch"]) == (3, {"kind": "greedy"}, 2)
    table = run(*options).stdout
    assert f"{100 * document['wer']:.2f} %" in table
    assert "mean_utterance_wer" in table


def test_evaluate_searches_with_a_language_model(trained, manifest, word_model, tmp_path):
    options = ("evaluate", "--checkpoint", trained, "--manifest", manifest, "--device", "cpu")
    heard = tmp_path / "heard.jsonl"
    done = run(
        *options, "--decoder", "beam", "--lm", word_model, "--beta", 20, "--per-utterance", heard, "--format", "json"
    )
    assert done.exit_code == 0, done.output
    said = [json.loads(line)["hypothesis"] for line in heard.read_text().splitlines()]
    assert {word for text in said for word in text.split()} <= {"AB", "D", "C"}
    assert json.loads(done.stdout)["decoder"]["beta"] == 20


@pytest.fixture
def word_model(tmp_path):
    pytest.importorskip("flashlight.lib.text.decoder", reason="the package flashlight-text is not installed")
    pytest.importorskip("kenlm", reason="the package kenlm is not installed")
    path = tmp_path / "words.arpa"
    path.write_text(
        "\\data\\\nngram 1=6\nngram 2=1\n\n\\1-grams:\n-2\t<unk>\n0\t<s>\t0\n-1\t</s>\n-0.1\tAB\t0\n-3\tD\n-3\tC\n\n"
        "\\2-grams:\n-0.1\tAB AB\n\n\\end\\\n"
    )
    return path


def test_a_grid_of_weights_tells_what_each_pair_gives_by_itself(trained, manifest, word_model):
    options = ("evaluate", "--checkpoint", trained, "--manifest", manifest, "--device", "cpu", "--format", "json")
    beam = ("--decoder", "beam", "--lm", word_model)
    done = run(*options, *beam, "--search-alpha", "0:1:0.5", "--search-beta", "0,30")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["rows"]
    assert len(rows) == 6
    assert [row["wer"] for row in rows] == sorted(row["wer"] for row in rows)
    assert len({row["wer"] for row in rows}) > 1
    for row in (rows[0], rows[-1]):
        alone = json.loads(run(*options, *beam, "--alpha", row["alpha"], "--beta", row["beta"]).stdout)
        assert (alone["wer"], alone["cer"]) == (row["wer"], row["cer"])


@pytest.mark.parametrize("values", ["1:0:0.5", "0:1:0", "0:1e9:1", "a", "0:1", "nan:1:1", "1,nan", "inf"])
def test_a_grid_that_is_none_is_refused(trained, manifest, word_model, values):
    options = ("evaluate", "--checkpoint", trained, "--manifest", manifest, "--device", "cpu", "--decoder", "beam")
    done = run(*options, "--lm", word_model, "--search-alpha", values)
    assert isinstance(done.exception, UsageError), done.output


@pytest.mark.parametrize(
    "options",
    [
        ("--lm", "x.arpa"),
        ("--alpha", "0.8"),
        ("--beam-width", "10"),
        ("--search-alpha", "1"),
        ("--lexicon", "x.txt", "--decoder", "beam"),
        ("--beta", "1", "--decoder", "beam"),
    ],
)
def test_options_without_effect_are_refused(trained, manifest, options):
    done = run("evaluate", "--checkpoint", trained, "--manifest", manifest, "--device", "cpu", *options)
    assert isinstance(done.exception, UsageError)
    assert f"{options[0]}" in str(done.exception)


@pytest.mark.parametrize(("option", "value"), [("--longest", "nan"), ("--longest", "inf"), ("--alpha", "nan")])
def test_numbers_that_are_none_are_refused(tmp_path, option, value):
    done = run("transcribe", "--checkpoint", tmp_path, option, value, tmp_path / "a.wav")
    assert isinstance(done.exception, UsageError)
    assert f"{option} {value}" in str(done.exception)


def test_a_transducer_asks_for_its_pieces(tmp_path):
    preset = PRESETS["rnnt"]
    small = replace(preset.model, encoder_hidden=8, prediction_hidden=8, joint_hidden=8, pieces=20)
    preset = replace(preset, model=small)
    path = written_checkpoint(
        tmp_path, build_network(preset), preset, symbols={"size": 21, "sha256": "0", "characters": None}
    )
    found = open_trained(path, HOST)
    assert found.preset == preset
    with pytest.raises(UsageError, match="--pieces FILE"):
        _ = found.symbols


@pytest.fixture
def transducer(tmp_path):
    """A checkpoint of a small transducer that says something, and the model of its pieces."""
    pytest.importorskip("sentencepiece", reason="the package sentencepiece is not installed")
    from ds2prof.speech.pieces import trained, write_pieces

    pieces = trained(["ab d c", "a bad cab", "dab a cad", "bad dad"], count=20)
    write_pieces(tmp_path / "pieces.model", pieces)
    preset = PRESETS["rnnt"]
    small = replace(preset.model, encoder_hidden=24, prediction_hidden=20, joint_hidden=16, pieces=20)
    preset = replace(preset, model=small)
    torch.manual_seed(2)
    network = build_network(preset)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter *= 6
        network.joint.output.bias[20] += 2
    digest = hashlib.sha256(pieces.model).hexdigest()
    symbols = {"size": 21, "sha256": digest, "characters": None}
    return written_checkpoint(tmp_path / "rnnt", network, preset, symbols=symbols), tmp_path / "pieces.model"


def test_a_transducer_transcribes_in_words(transducer, tmp_path):
    checkpoint, pieces = transducer
    path = recorded(tmp_path / "said.wav")
    done = run(
        "transcribe", "--checkpoint", checkpoint, "--pieces", pieces, "--device", "cpu", "--format", "json", path
    )
    assert done.exit_code == 0, done.output
    (found,) = json.loads(done.stdout)["files"]
    assert len(found["words"]) > 2
    assert " ".join(word["word"] for word in found["words"]) == found["text"]
    starts = [word["start_s"] for word in found["words"]]
    assert starts == sorted(starts)
    assert starts[0] > 0
    assert found["words"][-1]["end_s"] < 2.7


def test_a_transducer_is_evaluated_from_its_checkpoint(transducer, manifest):
    checkpoint, pieces = transducer
    options = ("evaluate", "--checkpoint", checkpoint, "--manifest", manifest, "--device", "cpu")
    document = json.loads(run(*options, "--pieces", pieces, "--format", "json").stdout)
    assert (document["words"], document["utterances"]) == (9, 3)
    assert "a transducer is decoded greedily" in str(run(*options, "--pieces", pieces, "--decoder", "beam").exception)


def test_other_pieces_than_those_it_was_trained_with_are_refused(transducer, manifest, tmp_path):
    from ds2prof.speech.pieces import trained, write_pieces

    write_pieces(tmp_path / "other.model", trained(["some words of another kind", "kind of words"], count=20))
    options = ("--manifest", manifest, "--device", "cpu", "--pieces", tmp_path / "other.model")
    done = run("evaluate", "--checkpoint", transducer[0], *options)
    assert "is not the model" in str(done.exception)


def test_transcribe_speaks_in_every_form(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("ds2prof.train.trained.open_trained", lambda *_, **__: listener())
    path = recorded(tmp_path / "my talk.wav")
    options = ("transcribe", "--checkpoint", trained, "--device", "cpu", path)
    assert run(*options).stdout == "AB D C\n"
    assert run(*options, "--offsets").stdout.splitlines()[1].split() == ["1.200", "1.500", "D"]
    document = json.loads(run(*options, "--format", "json").stdout)
    assert document["files"][0]["words"][1] == {"word": "D", "start_s": 1.2, "end_s": 1.5}
    assert json.loads(run(*options, "--format", "jsonl").stdout) == document["files"][0]
    assert run(*options, "--format", "ctm").stdout.splitlines()[1] == "my_talk 1 1.200 0.300 D"
    assert run(*options, "--format", "srt").stdout.splitlines()[:3] == ["1", "00:00:00,300 --> 00:00:02,300", "AB D C"]


def test_transcribe_names_its_files_where_there_are_several(trained, tmp_path, monkeypatch):
    monkeypatch.setattr("ds2prof.train.trained.open_trained", lambda *_, **__: listener())
    paths = [recorded(tmp_path / f"{number}.wav") for number in range(2)]
    done = run("transcribe", "--checkpoint", trained, "--device", "cpu", *paths)
    assert done.stdout == "".join(f"{path}: AB D C\n" for path in paths)
    assert isinstance(run("transcribe", "--checkpoint", trained, *paths, "--format", "srt").exception, UsageError)


def test_counts_of_utterances_add_up_to_those_of_the_corpus():
    found = evaluated()
    assert total(each.errors for each in found.heard) == found.counts
