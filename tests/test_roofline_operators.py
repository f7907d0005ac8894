"""FLOP and bytes of operators by their shapes, held against PyTorch's own count, a count by hand, and arithmetic."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof.analysis.roofline.calls import broadcast, call_of
from ds2prof.analysis.roofline.operators import MODELS, operator_work
from ds2prof.tables import Meta, Profile, int_column, text_column
from tests.profiles import profile as made

FLOAT, HALF, LONG = "float", "c10::Half", "long int"


def work_of(name, dims, types, values=()):
    call = call_of(f"aten::{name}", json.dumps(dims), json.dumps(types), json.dumps(list(values)))
    return MODELS[call.name](call)


def test_a_product_is_two_operations_for_each_pair_of_values():
    work = work_of("mm", [[3, 4], [4, 5]], [FLOAT, FLOAT])
    assert (work.flop, work.size_bytes) == (2 * 3 * 4 * 5, 4 * (12 + 20 + 15))


def test_what_is_added_to_a_product_is_moved_and_not_counted():
    work = work_of("addmm", [[5], [3, 4], [4, 5], [], []], [HALF, HALF, HALF, "Scalar", "Scalar"])
    assert (work.flop, work.size_bytes) == (120, 2 * (5 + 12 + 20 + 15))


def test_products_of_a_batch_are_as_many():
    assert work_of("bmm", [[7, 3, 4], [7, 4, 5]], [FLOAT] * 2).flop == 7 * 120


@pytest.mark.parametrize("dims", [[[3, 4], [5, 6]], [[3, 4]], [[3], [4]], [[2, 3, 4], [3, 4, 5]], []])
def test_shapes_that_do_not_fit_have_no_answer(dims):
    assert work_of("mm", dims, [FLOAT] * len(dims)) is None


CONVOLUTION = [[2, 4, 81, 20], [6, 4, 21, 11], [6], [], [], [], [], [], []]
CONVOLUTION_TYPES = [FLOAT, FLOAT, FLOAT, *["ScalarList"] * 3, "Scalar", "ScalarList", "Scalar"]


def test_a_convolution_lays_its_weight_on_each_place_of_the_output():
    values = ["", "", "", "[2, 1]", "[10, 5]", "[1, 1]", "False", "[0, 0]", "1"]
    work = work_of("convolution", CONVOLUTION, CONVOLUTION_TYPES, values)
    places = ((81 + 20 - 21) // 2 + 1) * 20
    assert work.flop == 2 * 2 * 6 * 4 * 21 * 11 * places
    assert work.size_bytes == 4 * (2 * 4 * 81 * 20 + 6 * 4 * 21 * 11 + 6 + 2 * 6 * places)


def test_a_convolution_without_its_stride_has_no_answer():
    assert work_of("convolution", CONVOLUTION, CONVOLUTION_TYPES) is None


def test_backends_take_padding_before_stride():
    values = ["", "", "[10, 5]", "[2, 1]", "[1, 1]", "1", "False", "False", "True"]
    whole = ["", "", "", "[2, 1]", "[10, 5]", "[1, 1]", "False", "[0, 0]", "1"]
    types = [FLOAT, FLOAT, *["ScalarList"] * 3]
    expected = work_of("convolution", CONVOLUTION, CONVOLUTION_TYPES, whole).flop
    assert work_of("cudnn_convolution", CONVOLUTION[:2] + [[]] * 7, types, values).flop == expected


@pytest.mark.parametrize(("mask", "products"), [("[True, True, True]", 2), ("[False, True, True]", 1), ("", 2)])
def test_the_backward_pass_of_a_convolution_has_the_products_that_its_mask_asks_for(mask, products):
    dims = [[2, 6, 41, 20], [2, 4, 81, 20], [6, 4, 21, 11], *[[]] * 8]
    values = ["", "", "", "[6]", "[2, 1]", "[10, 5]", "[1, 1]", "False", "[0, 0]", "1", mask]
    work = work_of("convolution_backward", dims, [FLOAT] * 3, values)
    assert work.flop == products * 2 * 2 * 6 * 4 * 21 * 11 * 41 * 20
    assert (work.assumed is None) == bool(mask)


LAYERS = [[16, 40], [[96, 40], [96, 24], [96], [96], [96, 40], [96, 24], [96], [96]], [], [9216], [2, 2, 24]]


def test_a_recurrent_layer_meets_each_of_its_matrices_once_a_frame():
    values = [*[""] * 13, "True"]
    work = work_of("_cudnn_rnn", LAYERS, [FLOAT, "TensorList", "Scalar", FLOAT, FLOAT], values)
    assert work.flop == 2 * 16 * 2 * 96 * (40 + 24)
    assert work.size_bytes == 4 * (16 * 40 + 2 * (96 * 64 + 192) + 16 * 48)


def test_its_backward_pass_is_twice_that():
    dims = [*LAYERS, [2, 2, 24], [16, 48], [16, 48]]
    work = work_of("_cudnn_rnn_backward", dims, [FLOAT, "TensorList", "Scalar", *[FLOAT] * 5])
    assert work.flop == 2 * 2 * 16 * 2 * 96 * (40 + 24)


def test_weights_that_were_not_recorded_leave_a_recurrent_layer_without_an_answer():
    assert work_of("_cudnn_rnn", [[16, 40], []], [FLOAT, "TensorList"]) is None


def test_values_of_integers_are_no_floating_point():
    assert work_of("add", [[8], [8], []], [LONG, LONG, "Scalar"]).flop == 0
    assert work_of("add", [[8], [8], []], [LONG, FLOAT, "Scalar"]).flop == 8


def test_a_comparison_writes_one_byte_a_value():
    assert work_of("ge", [[8], []], [FLOAT, "Scalar"]).size_bytes == 8 * 4 + 8


def test_an_in_place_operator_is_the_operator():
    assert work_of("hardtanh_", [[3, 5], [], []], [FLOAT, "Scalar", "Scalar"]).flop == 30


def test_batch_normalization_costs_less_where_it_does_not_train():
    dims, types = [[10, 8], [8], [8], [8], [8], [], [], []], [FLOAT] * 5 + ["Scalar"] * 3
    trained, evaluated = (
        work_of("native_batch_norm", dims, types, [*[""] * 5, flag, "0.1", "1e-05"]).flop for flag in ("True", "False")
    )
    assert (trained, evaluated) == (7 * 80, 4 * 80)


def test_ctc_without_its_lengths_has_no_answer():
    dims, types = [[20, 2, 29], [6], [], [], [], []], [FLOAT, LONG, "ScalarList", "ScalarList", "Scalar", "Scalar"]
    assert work_of("_ctc_loss", dims, types) is None
    work = work_of("_ctc_loss", dims, types, ["", "", "[20, 18]", "[3, 2]", "0", "True"])
    assert work.flop == 13 * 7 * 19 + 8 + 13 * 5 * 17 + 8


def test_lists_of_tensors_have_no_type_and_so_no_bytes():
    work = work_of("_fused_sgd_", [[[4, 2], [3]], [[4, 2], [3]], [[4, 2], [3]]], ["TensorList"] * 3)
    assert (work.flop, work.size_bytes, work.values) == (88, None, 33 + 22)


def test_every_model_survives_calls_that_tell_nothing():
    for name in MODELS:
        for shapes in (
            None,
            "",
            "[]",
            "not json",
            '{"a": 1}',
            "[[]]",
            "[[[]]]",
            "[[-1, 2]]",
            '[["x"]]',
            "[null, [1e400]]",
        ):
            call = call_of(f"aten::{name}", shapes, '["float", "float", "float"]', '["", 3, null]')
            found = MODELS[call.name](call)
            assert found is None or found.flop >= 0


shapes = st.lists(st.lists(st.integers(0, 5), max_size=4), max_size=12)
texts = st.lists(st.sampled_from(["", "True", "[1, 1]", "[0, 0]", "[True, True, True]", "3", "-1"]), max_size=12)


@settings(max_examples=1000)
@given(st.sampled_from(sorted(MODELS)), shapes, texts)
def test_no_call_breaks_its_model_or_costs_less_than_nothing(name, dims, values):
    work = work_of(name, dims, [FLOAT] * len(dims), values)
    assert work is None or (work.flop >= 0 and (work.size_bytes is None or work.size_bytes >= 0))


@given(st.integers(1, 50), st.integers(1, 50), st.integers(1, 50), st.integers(2, 5))
def test_a_product_grows_with_each_of_its_sides(rows, inner, columns, factor):
    one = work_of("mm", [[rows, inner], [inner, columns]], [FLOAT] * 2).flop
    assert work_of("mm", [[rows * factor, inner], [inner, columns]], [FLOAT] * 2).flop == factor * one


def test_shapes_broadcast():
    assert broadcast((5, 1), (3,)) == (5, 3)
    assert broadcast((), (2, 0)) == (2, 0)


def ops_profile(rows):
    """Operators (name, dims, start, end) on one thread."""
    columns = {
        "name": text_column([row[0] for row in rows]),
        "start_ns": int_column([row[2] for row in rows]),
        "dur_ns": int_column([row[3] - row[2] for row in rows]),
        "thread": int_column([1] * len(rows)),
        "shapes": text_column([json.dumps(row[1]) for row in rows]),
        "dtypes": text_column([json.dumps([FLOAT] * 3) for _ in rows]),
    }
    return Profile.of(Meta(file="made.json", tool="test", format="test", domain="cpu"), {"ops": columns})


def test_an_operator_that_calls_another_is_counted_once():
    square = [[2, 2], [2, 2]]
    works = operator_work(
        ops_profile(
            [
                ("aten::linear", square, 0, 90),
                ("aten::mm", square, 10, 80),
                ("aten::copy_", square, 20, 30),
                ("aten::empty", square, 12, 13),
                ("aten::copy_", square, 95, 99),
            ]
        )
    )
    assert works.rows.tolist() == [1, 4]
    assert works.claims.tolist() == [-1, 0, 0, 0, 1]


def test_equal_calls_are_asked_for_once():
    works = operator_work(ops_profile([("aten::mm", [[2, 3], [3, 4]], at, at + 1) for at in range(0, 100, 2)]))
    assert len(works.works) == 1
    assert int(works.flop.sum()) == 50 * 48


def test_a_profile_without_operators_has_no_work():
    assert len(operator_work(made(kernels=(("name",), [("k",)]))).rows) == 0


torch = pytest.importorskip("torch", reason="no torch, the tool that trains")

from torch.utils.flop_counter import FlopCounterMode


def traced(step, folder):
    """The operators that PyTorch's profiler saw of ``step``, parsed."""
    from ds2prof.parsers import read_all

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as recorded:
        step()
    path = folder / "trace.json"
    recorded.export_chrome_trace(str(path))
    return next(iter(read_all(str(path), tables=("ops", "kernels"), progress=None, refused=lambda error: None)))


def by_family(profile):
    works = operator_work(profile)
    found = {}
    for place, flop in zip(works.work.tolist(), works.flop.tolist(), strict=True):
        if flop >= 0:
            family = works.works[place].family
            found[family] = found.get(family, 0) + flop
    return found


PRODUCTS = {
    "mm": lambda: torch.randn(3, 4, requires_grad=True) @ torch.randn(4, 5),
    "linear": lambda: torch.nn.Linear(4, 5)(torch.randn(2, 3, 4)),
    "bmm": lambda: torch.randn(7, 3, 4, requires_grad=True) @ torch.randn(7, 4, 5),
    "convolution": lambda: torch.nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=1)(torch.randn(2, 4, 9, 11)),
    "grouped": lambda: torch.nn.Conv1d(6, 6, 3, groups=3)(torch.randn(2, 6, 9)),
    "dilated": lambda: torch.nn.Conv2d(3, 4, 3, dilation=2)(torch.randn(1, 3, 9, 9)),
    "transposed": lambda: torch.nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1)(torch.randn(2, 4, 5, 5)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_what_pytorch_counts(name, tmp_path):
    with FlopCounterMode(display=False) as counter:
        PRODUCTS[name]()
    counted = by_family(traced(PRODUCTS[name], tmp_path))
    assert sum(counted.get(family, 0) for family in ("gemm", "convolution")) == counter.get_total_flops()


@pytest.mark.parametrize("wanted", [True, False])
def test_a_convolution_backward_is_what_pytorch_counts(wanted, tmp_path):
    layer = torch.nn.Conv2d(3, 4, 3, padding=1)

    def step():
        layer(torch.randn(2, 3, 8, 8, requires_grad=wanted)).sum().backward()

    with FlopCounterMode(display=False) as counter:
        step()
    counted = by_family(traced(step, tmp_path))["convolution"]
    assert counted == counter.get_total_flops()
    assert counted == (3 if wanted else 2) * 2 * 2 * 4 * 3 * 9 * 64


class Decomposed(torch.nn.Module):
    """An LSTM written out: a product with the input and one with the state for each step, which PyTorch counts."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, inputs_TBD):
        hidden = self.layer.hidden_size
        sides = []
        for suffix, frames in (("", inputs_TBD.unbind(0)), ("_reverse", inputs_TBD.unbind(0)[::-1])):
            weight_ih = getattr(self.layer, f"weight_ih_l0{suffix}")
            weight_hh = getattr(self.layer, f"weight_hh_l0{suffix}")
            # The first state wants a gradient, as it has one in the layer that runs as one operator.
            state = torch.zeros(inputs_TBD.shape[1], hidden, requires_grad=True)
            cell = torch.zeros(inputs_TBD.shape[1], hidden)
            outputs = []
            for frame in frames:
                gates = frame @ weight_ih.t() + state @ weight_hh.t()
                i, f, g, o = gates.chunk(4, dim=-1)
                cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
                state = o.sigmoid() * cell.tanh()
                outputs.append(state)
            sides.append(torch.stack(outputs if not suffix else outputs[::-1]))
        return torch.cat(sides, dim=-1), None


def tiny_step(*, decomposed=False):
    """(what takes a step of the tiny preset, its frames, its network): one batch, two utterances of one length."""
    from dataclasses import replace

    from ds2prof.train.model import DeepSpeech2
    from ds2prof.train.objective import ctc_loss
    from ds2prof.train.presets import PRESETS

    frames = (40, 40)
    torch.manual_seed(1)
    network = DeepSpeech2(replace(PRESETS["tiny"].model, packed=not decomposed))
    if decomposed:
        for layer in network.rnn:
            layer.recurrence = Decomposed(layer.recurrence)
    spect_BFT = torch.randn(2, network.config.input_bins, max(frames))

    def step():
        logits_TBV, counts = network(spect_BFT, torch.tensor(frames), frames)
        ctc_loss(logits_TBV, counts, torch.tensor([1, 2, 3, 4, 5, 6]), [3, 3]).backward()

    return step, frames, network


def by_hand():
    """FLOP of a step of the tiny preset for two utterances of 40 frames, each factor written out."""
    first = 2 * (1 * 41 * 11) * 4 * 81 * 20 * 2
    second = 2 * (4 * 21 * 11) * 4 * 41 * 20 * 2
    recurrent = 2 * 4 * 128 * 2 * 20 * 2 * ((164 + 128) + 2 * (128 + 128))
    head = 2 * 128 * 29 * 20 * 2
    # Forward, and twice that backward; the first convolution's input wants no gradient.
    return {"convolution": 2 * first + 3 * second, "recurrent": 3 * recurrent, "gemm": 3 * head}


def test_the_tiny_step_is_what_pytorch_counts_on_its_decomposed_recurrence_and_what_a_count_by_hand_says(tmp_path):
    step, frames, network = tiny_step()
    counted = by_family(traced(step, tmp_path))
    products = {family: counted[family] for family in ("convolution", "recurrent", "gemm")}
    assert products == by_hand()
    decomposed, *_ = tiny_step(decomposed=True)
    with FlopCounterMode(display=False) as counter:
        decomposed()
    assert sum(products.values()) == counter.get_total_flops()
    from ds2prof.train.flop import step_flop

    assert sum(products.values()) == step_flop(network, frames, (3, 3)).hardware


def test_three_times_the_forward_pass_is_wrong(tmp_path):
    step, frames, network = tiny_step()
    forward = sum(network.flop(frames, (3, 3), padded=True).values())
    counted = by_family(traced(step, tmp_path))
    first = network.flop(frames, (3, 3), padded=True)["conv.0"]
    assert 3 * forward - sum(counted[family] for family in ("convolution", "recurrent", "gemm")) == first > 0


def test_ctc_and_its_softmax_are_what_the_formula_of_training_says(tmp_path):
    from ds2prof.train.flop import ctc_flop

    step, _, network = tiny_step()
    counted = by_family(traced(step, tmp_path))
    expected = ctc_flop([20, 20], [3, 3], vocabulary=29)
    assert counted["ctc"] + counted["softmax"] == sum(expected.values())
    assert network.output_frames([40]) == [20]


def test_a_model_of_bytes_never_moves_less_than_the_weights():
    work = work_of("mkldnn_rnn_layer", [[20, 2, 164], [512, 164], [512, 128], [512], [512]], [FLOAT] * 5)
    assert work.size_bytes > 4 * 512 * (164 + 128)
    assert work.flop == 2 * 40 * 512 * (164 + 128)
    assert math.isclose(work.flop / work.size_bytes, 2 * 40 * 512 * 292 / (4 * (40 * 164 + 512 * 294 + 40 * 128)))
