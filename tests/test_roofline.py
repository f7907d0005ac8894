"""Kernels beneath their roofs: where work and peaks are from, what is attainable, and what there is to gain."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ds2prof.analysis.roofline import mfu, tables
from ds2prof.analysis.roofline.executed import executed
from ds2prof.analysis.roofline.kernels import kernel_work, value_bytes_of
from ds2prof.analysis.roofline.roof import kernel_roofs
from ds2prof.analysis.roofline.tables import gains, roofline
from ds2prof.errors import MissingDataError
from ds2prof.parsers import read_all
from ds2prof.peaks import peak_named
from ds2prof.tables import Meta, Profile, float_column, int_column, text_column

H100 = "NVIDIA H100 80GB HBM3"
META = Meta(file="made.json", tool="test", format="test")
SIDE = 1024
GEMM_FLOP = 2 * SIDE**3
GEMM_BYTES = 3 * SIDE**2 * 2
BANDWIDTH = 3_352e9
BF16 = peak_named(H100).flop_per_s("tensor_bf16")


def modelled(kernels, ops, *, device=H100, meta=META, ranges=()):
    """A timeline of kernels (name, start, dur, launched at) and operators (name, dims, type, start, end)."""
    tables = {
        "kernels": {
            "name": text_column([row[0] for row in kernels]),
            "device": int_column([0] * len(kernels)),
            "start_ns": int_column([row[1] for row in kernels]),
            "dur_ns": int_column([row[2] for row in kernels]),
            "correlation": int_column(range(1, len(kernels) + 1)),
        },
        "api": {
            "name": text_column(["cudaLaunchKernel"] * len(kernels)),
            "thread": int_column([1] * len(kernels)),
            "start_ns": int_column([row[3] for row in kernels]),
            "dur_ns": int_column([1] * len(kernels)),
            "correlation": int_column(range(1, len(kernels) + 1)),
        },
        "ops": {
            "name": text_column([row[0] for row in ops]),
            "thread": int_column([1] * len(ops)),
            "start_ns": int_column([row[3] for row in ops]),
            "dur_ns": int_column([row[4] - row[3] for row in ops]),
            "shapes": text_column([json.dumps(row[1]) for row in ops]),
            "dtypes": text_column([json.dumps([row[2]] * 4) for row in ops]),
        },
        "devices": {"device": int_column([0]), "name": text_column([device])},
    }
    if ranges:
        tables["ranges"] = {
            "name": text_column([f"{kind}:{value}" for kind, value, *_ in ranges]),
            "kind": text_column([row[0] for row in ranges]),
            "value": text_column([row[1] for row in ranges]),
            "thread": int_column([1] * len(ranges)),
            "start_ns": int_column([row[2] for row in ranges]),
            "dur_ns": int_column([row[3] - row[2] for row in ranges]),
        }
    return Profile.of(meta, tables)


SQUARE = [[SIDE, SIDE], [SIDE, SIDE]]
BF = "c10::BFloat16"
ONE = ([("sm90_gemm_bf16", 100, 10_000, 5)], [("aten::mm", SQUARE, BF, 0, 10)])


def test_attainable_is_the_longer_of_operations_and_bytes():
    roofs = kernel_roofs(modelled(*ONE))
    assert roofs.attainable_ns[0] == pytest.approx(max(GEMM_FLOP / BF16, GEMM_BYTES / BANDWIDTH) * 1e9)
    assert bool(roofs.is_compute_bound[0])


def test_a_row_tells_work_rate_roof_and_gain():
    (row,) = roofline(modelled(*ONE)).rows()
    attainable = GEMM_FLOP / BF16 * 1e9
    assert (row["flop"], row["size_bytes"]) == (GEMM_FLOP, GEMM_BYTES)
    assert row["intensity"] == pytest.approx(GEMM_FLOP / GEMM_BYTES)
    assert row["flop_per_s"] == pytest.approx(GEMM_FLOP / 10e-6)
    assert row["attainable_ns"] == round(attainable)
    assert row["bound"] == "compute"
    assert row["roof"] == pytest.approx(attainable / 10_000)
    assert row["gain_ns"] == round(10_000 - attainable)
    assert row["coverage"] == 1.0


def test_the_kernels_of_a_product_take_all_of_it_and_its_helpers_none():
    kernels = [
        ("nchwToNhwcKernel", 0, 1_000, 2),
        ("sm80_gemm_a", 1_000, 3_000, 3),
        ("splitKreduce_kernel", 4_000, 1_000, 4),
    ]
    work = kernel_work(modelled(kernels, [("aten::mm", SQUARE, BF, 0, 10)]))
    assert work.flop.tolist() == [0.0, GEMM_FLOP, 0.0]
    assert work.is_helper.tolist() == [True, False, True]
    assert work.size_bytes.tolist() == [0.0, GEMM_BYTES, 0.0]


@pytest.mark.parametrize(
    "helper",
    [
        "void splitKreduce_kernel<32, 16, int, float>(cublasSplitKParams<float>, float const*)",
        "cask_cudnn::computeBOffsetsKernel(cask_cudnn::ComputeBOffsetsParams)",
        "void cudnn::winograd_nonfused::winogradForwardData4x4<float, float>(cudnn::winograd_nonfused::WinogradDataP)",
        "void fft2d_r2c_32x32<float, false, 1u, false>(float2*, float const*, int)",
        "Cijk_S_GA_PostGSU8_VW4",
    ],
)
def test_what_prepares_a_product_or_adds_up_its_parts_computes_none_of_it(helper):
    work = kernel_work(modelled([(helper, 0, 1_000, 2), ("volta_sgemm_128x64_nn", 1_000, 1_000, 3)], ONE[1]))
    assert work.flop.tolist() == [0.0, GEMM_FLOP]


def test_a_kernel_that_is_all_of_a_product_takes_it_whatever_its_name():
    work = kernel_work(modelled([("volta_scudnn_winograd_128x128_ldg1_ldg4_relu_tile148t_nt_v1", 0, 9, 2)], ONE[1]))
    assert work.flop.tolist() == [GEMM_FLOP]


def test_other_work_is_shared_out_by_time():
    kernels = [("elementwise_kernel", 0, 1_000, 2), ("vectorized_elementwise_kernel", 1_000, 3_000, 3)]
    work = kernel_work(modelled(kernels, [("aten::add", [[400], [400]], "float", 0, 10)]))
    assert work.flop.tolist() == [100.0, 300.0]


def test_a_kernel_without_a_modelled_operator_has_no_roof_and_lowers_the_coverage():
    kernels = [*ONE[0], ("mystery", 10_100, 10_000, 20)]
    answer = roofline(modelled(kernels, ONE[1]))
    mystery = next(row for row in answer.rows() if row["name"] == "mystery")
    assert mystery["flop"] is mystery["attainable_ns"] is mystery["gain_ns"] is None
    assert mystery["coverage"] == 0
    assert any("1 of 2 kernels have no operator with a model" in note for note in answer.notes)


def test_an_unknown_device_has_work_and_no_roof_and_says_so():
    profile = modelled(*ONE, device="NVIDIA H20")
    answer = roofline(profile)
    assert answer.columns["flop"] == [GEMM_FLOP]
    assert answer.columns["attainable_ns"] == [None]
    assert "NVIDIA H20: no peak in the table of devices, so no roof" in answer.notes
    with pytest.raises(MissingDataError, match="no roof is known"):
        gains(profile)


def test_products_in_fp32_run_on_tensor_cores_only_where_the_kernel_says_so():
    peak = peak_named(H100)
    for name, kind in (("ampere_sgemm_128x64_tn", "fp32"), ("sm90_xmma_gemm_f32f32_tf32f32_f32", "tensor_tf32")):
        roofs = kernel_roofs(modelled([(name, 0, 10**6, 5)], [("aten::mm", SQUARE, "float", 0, 10)]))
        assert roofs.compute_ns[0] == pytest.approx(GEMM_FLOP / peak.flop_per_s(kind) * 1e9)


def test_a_chip_without_tensor_cores_runs_products_of_16_bits_on_its_cores():
    profile = modelled(
        [("maxwell_fp16_sgemm", 0, 10**6, 5)], [("aten::mm", SQUARE, "c10::Half", 0, 10)], device="Tesla P100-SXM2-16GB"
    )
    assert kernel_roofs(profile).compute_ns[0] == pytest.approx(GEMM_FLOP / (56 * 256 * 1480e6) * 1e9)


def test_a_kernel_faster_than_its_roof_gains_nothing():
    profile = modelled([("vectorized_elementwise_kernel", 0, 10, 5)], [("aten::add", [[10**6]] * 2, "float", 0, 10)])
    answer = roofline(profile)
    assert answer.columns["gain_ns"] == [0]
    assert answer.columns["roof"][0] > 1
    assert any("faster than their roof" in note for note in answer.notes)


def test_gain_counts_time_that_kernels_share_once():
    kernels = [("sm90_gemm_a", 0, 10_000, 5), ("sm90_gemm_b", 0, 10_000, 6)]
    answer = roofline(modelled(kernels, [("aten::mm", SQUARE, BF, 0, 10)]))
    assert sum(answer.columns["gain_ns"]) == pytest.approx(10_000 - GEMM_FLOP / BF16 * 1e9, abs=2)


def test_gains_rank_names_classes_and_layers_and_divide_by_the_steps():
    kernels = [("sm90_gemm_a", 0, 30_000, 5), ("sm90_gemm_a", 30_000, 30_000, 105), ("copy_kernel", 60_000, 5_000, 115)]
    ops = [
        ("aten::mm", SQUARE, BF, 0, 10),
        ("aten::mm", SQUARE, BF, 100, 110),
        ("aten::copy_", [[100], [100]], BF, 112, 120),
    ]
    ranges = [("iteration", "0", 0, 50), ("iteration", "1", 100, 150), ("layer", "rnn.0:forward", 0, 20)]
    answer = gains(modelled(kernels, ops, ranges=ranges))
    rows = answer.rows()
    assert [row["gain_ns"] for row in rows] == sorted((row["gain_ns"] for row in rows), reverse=True)
    by_key = {(row["group"], row["name"]): row for row in rows}
    one = 30_000 - GEMM_FLOP / BF16 * 1e9
    assert by_key["name", "sm90_gemm_a"]["gain_ns"] == pytest.approx(2 * one, abs=1)
    assert by_key["name", "sm90_gemm_a"]["step_gain_ns"] == pytest.approx(one, abs=1)
    assert by_key["class", "gemm"]["gain_ns"] == by_key["name", "sm90_gemm_a"]["gain_ns"]
    assert by_key["layer", "rnn.0:forward"]["gain_ns"] == pytest.approx(one, abs=1)
    assert by_key["name", "sm90_gemm_a"]["gain_share"] == pytest.approx(2 * one / 65_000, rel=1e-3)


@pytest.mark.parametrize("key", ["name", "class", "layer", "phase"])
def test_each_key_shares_out_the_same_work(key):
    ranges = [("layer", "head:forward", 0, 50), ("phase", "forward", 0, 50)]
    answer = roofline(modelled(*ONE, ranges=ranges), key)
    assert sum(answer.columns["flop"]) == GEMM_FLOP


def test_the_name_of_a_kernel_tells_the_type_of_listed_tensors():
    cat = "void at::native::CatArrayBatchedCopy<at::native::(anonymous namespace)::OpaqueType<2u>, unsigned int, 2>"
    optimizer = "void multi_tensor_apply_kernel<TensorListMetadata<2>, BinaryOpListAlphaFunctor<float, 2, 2, 0>, float>"
    assert (value_bytes_of(cat), value_bytes_of(optimizer), value_bytes_of("k")) == (2, 4, None)


def test_no_shapes_and_no_counters_is_one_line_that_says_what_to_do():
    profile = modelled([("k", 0, 10, 5)], [])
    with pytest.raises(MissingDataError, match="record shapes"):
        roofline(profile)


SASS = "smsp__sass_thread_inst_executed_op_{}_pred_on.sum"


def counted(values, *, device="NVIDIA A100-SXM4-40GB", chip="GA100", dur_ns=1_000_000):
    """One launch with counters (metric -> value)."""
    return Profile.of(
        Meta(file="made.csv", tool="test", format="test", times="replay"),
        {
            "kernels": {
                "name": text_column(["k"]),
                "device": int_column([0]),
                "dur_ns": int_column([dur_ns]),
            },
            "counters": {
                "launch": int_column([0] * len(values)),
                "metric": text_column(list(values)),
                "unit": text_column([""] * len(values)),
                "value": float_column(list(values.values())),
            },
            "devices": {
                "device": int_column([0]),
                "name": text_column([device]),
                "chip": text_column([chip]),
            },
        },
    )


FP32 = {SASS.format("fadd"): 100.0, SASS.format("fmul"): 50.0, SASS.format("ffma"): 1000.0}


def test_counted_operations_weigh_a_fused_one_twice():
    profile = counted({**FP32, "dram__bytes.sum": 4096.0})
    (row,) = roofline(profile).rows()
    assert (row["flop"], row["size_bytes"]) == (2150, 4096)
    assert row["intensity"] == pytest.approx(2150 / 4096)


def test_a_missing_counter_makes_its_kind_unknown():
    del (part := dict(FP32))[SASS.format("fmul")]
    assert executed(counted(part)) is None
    assert "fp32" in executed(counted({**part, "dram__bytes.sum": 1.0})).lacking


def test_blackwell_counts_two_products_in_one_instruction():
    blackwell = {**FP32, **{SASS.format(f"{op}2"): 10.0 for op in ("fadd", "fmul", "ffma")}}
    assert executed(counted(FP32, device="NVIDIA B200", chip="GB100")) is None
    found = executed(counted(blackwell, device="NVIDIA B200", chip="GB100"))
    assert found.flop["fp32"].tolist() == [2150 + 20 + 20 + 40]


def test_rates_a_cycle_become_counts_by_clock_and_time():
    rates = {f"{name}.per_cycle_elapsed": value for name, value in FP32.items()}
    profile = counted({**rates, "smsp__cycles_elapsed.avg.per_second": 1e9, "dram__bytes.sum.per_second": 5e9})
    found = executed(profile)
    assert found.flop["fp32"].tolist() == pytest.approx([2150 * 1e9 * 1e-3])
    assert found.size_bytes.tolist() == pytest.approx([5e6])


def test_the_roof_of_a_replayed_launch_is_at_the_clock_it_was_replayed_at():
    clock = {"gpc__cycles_elapsed.avg.per_second": 705e6}
    profile = counted({**{name: value * 1e9 for name, value in FP32.items()}, **clock, "dram__bytes.sum": 1.0})
    assert kernel_roofs(profile).compute_ns[0] == pytest.approx(2150e9 / (108 * 128 * 705e6) * 1e9)


def test_products_that_are_not_counted_leave_no_roof():
    busy = {"sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed": 0.5, "gpc__cycles_elapsed.max": 1000.0}
    profile = counted({**FP32, **busy, "dram__bytes.sum": 4096.0})
    profile = Profile.of(
        profile.meta,
        {
            **{name: profile.table(name).columns for name in ("kernels", "devices")},
            "counters": {
                **profile.table("counters").columns,
                "unit": text_column(["ratio"] * len(profile.table("counters"))),
            },
        },
    )
    answer = roofline(profile)
    assert answer.columns["flop"] == [None]
    assert answer.columns["attainable_ns"] == [None]
    assert any("tensor cores, whose FLOP were not collected" in note for note in answer.notes)


LAYERED = {
    "kernels": [("sm90_gemm_bf16", 100, 10_000, 5), ("sm90_gemm_bf16", 10_100, 20_000, 25)],
    "ops": [("aten::mm", SQUARE, BF, 0, 10), ("aten::mm", SQUARE, BF, 20, 30)],
    "ranges": [("layer", "head", 0, 12), ("phase", "forward", 0, 40)],
}


def test_a_gain_is_asked_for_by_one_group_alone():
    profile = modelled(**LAYERED)
    layers = {row["name"]: row for row in tables.answer(profile, "gain", "layer").rows()}
    attainable = GEMM_FLOP / BF16 * 1e9
    assert {name: row["gain_ns"] for name, row in layers.items()} == {
        "head": round(10_000 - attainable),
        None: round(20_000 - attainable),
    }
    (phase,) = tables.answer(profile, "gain", "phase").rows()
    assert (phase["group"], phase["name"]) == ("phase", "forward")
    assert phase["gain_ns"] == pytest.approx(sum(row["gain_ns"] for row in layers.values()), abs=1)
    assert {row["group"] for row in tables.answer(profile, "gain").rows()} == {"name", "class", "layer"}


@pytest.mark.parametrize("per", tables.GROUPS)
def test_a_roofline_has_the_rows_that_are_asked_for(per):
    rows = tables.answer(modelled(**LAYERED), "roofline", per).rows()
    assert sum(row["flop"] for row in rows) == 2 * GEMM_FLOP
    assert len(rows) == (2 if per == "layer" else 1)
    assert per in rows[0] or per == "class"


def test_a_group_that_nobody_recorded_is_refused():
    with pytest.raises(MissingDataError, match="no layer was recorded in this file; drop --per layer"):
        tables.answer(modelled(*ONE), "gain", "layer")


def test_the_command_line_offers_the_groups_that_there_are():
    from ds2prof.analysis import questions
    from ds2prof.cli import parse

    assert questions.PER_OF == parse.PER_OF


def run_log(**facts):
    stretch = {"first": 0, "stop": 2, "wall_ns": 2 * 10**9, "model_flop": 6 * 10**13, "hardware_flop": 8 * 10**13}
    header = {"device_name": H100, "precision": "bf16", "profiler": None, "stretch": stretch, **facts}
    meta = Meta(file="run.jsonl", tool="ds2prof train", format="ds2prof-run", times=None, facts=header)
    return Profile.of(meta, {"iterations": {"iteration": int_column([0, 1])}})


def test_mfu_is_of_true_frames_and_hfu_of_all_that_is_laid_out():
    found = mfu.totals(run_log())
    assert found["mfu"] == pytest.approx(3e13 / BF16)
    assert found["hfu"] == pytest.approx(4e13 / BF16)
    assert (found["peak_kind"], found["peak_clock_hz"]) == ("tensor_bf16", 1_830_000_000)


def test_a_precision_has_a_peak_of_its_own():
    kinds = {precision: mfu.totals(run_log(precision=precision))["peak_kind"] for precision in mfu.PRECISION_KINDS}
    assert kinds == mfu.PRECISION_KINDS


def test_an_unknown_device_has_no_mfu_and_is_named():
    profile = run_log(device_name="NVIDIA H20")
    assert mfu.totals(profile)["mfu"] is None
    assert mfu.totals(profile)["model_flop_per_s"] == 3e13
    assert mfu.missing(profile) == "no MFU: NVIDIA H20 has no peak in the table of devices"
    assert mfu.missing(run_log()) is None


def test_a_run_that_a_profiler_looked_on_has_no_mfu():
    assert mfu.totals(run_log(profiler="torch")) == {}
    assert mfu.totals(run_log(stretch=None)) == {}


def test_a_timeline_has_the_mfu_of_its_window_by_its_sidecar():
    ranges = [("iteration", "0", 0, 5_000), ("iteration", "1", 5_000, 10_000)]
    profile = modelled(*ONE, ranges=ranges)
    assert mfu.totals(profile) == {}
    profile.attach_run(
        {"precision": "bf16", "work": {"iterations": 2, "model_flop": 10**9, "hardware_flop": 2 * 10**9}}
    )
    assert mfu.totals(profile)["mfu"] == pytest.approx(1e9 / (BF16 * 10e-6))


def corpus_profile(corpus, pattern):
    path = next(iter(sorted(corpus.glob(pattern))))
    tables = ("kernels", "copies", "counters", "devices", "api", "ops", "ranges", "spans")
    return next(iter(read_all(str(path), tables=tables, progress=None, refused=lambda error: None)))


def test_real_gemms_of_1024_are_counted_as_what_their_size_says(corpus):
    profile = corpus_profile(corpus, "ncu-csv/AveryClapp__ESMM-Research__metrics.csv")
    flop = dict(zip(*(roofline(profile).columns[name] for name in ("name", "flop")), strict=True))
    assert flop["warptiling"] == 2 * 1024**3
    assert flop["smem_blocking"] == 2 * 1024**3 + 1024**2  # it scales each value besides


@pytest.mark.parametrize(
    "pattern", ["ncu-rep/bwd29__self-join-MiSTIC__ilpProf.ncu-rep", "ncu-rep/thedavidchu__speedy_scan__profile.ncu-rep"]
)
def test_real_rooflines_are_those_of_the_formulas_of_nsight_compute(corpus, pattern):
    pytest.importorskip("ncu_report", reason="no ncu-report, the tool that reads these")
    profile = corpus_profile(corpus, pattern)
    found, table = executed(profile), profile.table("counters")
    value = dict(zip(table["metric"].tolist(), table["value"].tolist(), strict=True))
    clock = value["smsp__cycles_elapsed.avg.per_second"]
    seconds = profile.table("kernels").ints("dur_ns")[0] / 1e9
    base = "smsp__sass_thread_inst_executed_op_{}_pred_on.sum.per_cycle_elapsed"
    for kind, letter in (("fp32", "f"), ("fp64", "d")):
        fused = value[f"derived__smsp__sass_thread_inst_executed_op_{letter}fma_pred_on_x2"]
        rate = (value[base.format(f"{letter}add")] + value[base.format(f"{letter}mul")] + fused) * clock
        assert found.flop[kind][0] / seconds == pytest.approx(rate)
        peak = value[f"derived__sm__sass_thread_inst_executed_op_{letter}fma_pred_on_x2"]
        assert found.peak_flop_per_s[kind][0] == pytest.approx(peak * value["sm__cycles_elapsed.avg.per_second"])
    stated = value["dram__bytes.sum.peak_sustained"] * value["dram__cycles_elapsed.avg.per_second"]
    assert found.peak_bytes_per_s[0] == pytest.approx(stated)
    assert found.size_bytes[0] / seconds == pytest.approx(value["dram__bytes.sum.per_second"], rel=1e-3)


def test_a_real_forward_pass_is_what_its_layers_say(corpus):
    # ViT-B/16 without its head, on 4 images of 224 x 224: 197 tokens of 768; 12 layers of 4 square products and 2 of
    # 768 by 3072; a square product of each image's first token.
    work = kernel_work(corpus_profile(corpus, "kineto/*h100_Falconsai_nsfw.json.gz"))
    families = {}
    for place, flop in zip(work.works.work.tolist(), work.works.flop.tolist(), strict=True):
        family = work.works.works[place].family
        families[family] = families.get(family, 0) + flop
    tokens = 4 * 197
    layer = 4 * 2 * tokens * 768 * 768 + 2 * 2 * tokens * 768 * 3072
    assert families["gemm"] == 12 * layer + 2 * 4 * 768 * 768
    assert families["convolution"] == 2 * 4 * 768 * (3 * 16 * 16) * (14 * 14)


def test_kernels_share_out_all_that_their_operators_did(corpus):
    profile = corpus_profile(corpus, "kineto/*h100_timesformer.json.gz")
    work = kernel_work(profile)
    on_the_host = 5 * 400 - 2  # the last softmax, over the 400 classes of one sample
    assert np.nansum(work.flop) == pytest.approx(float(work.works.flop.sum() - on_the_host), abs=0.5)
    assert np.isnan(work.flop).sum() == 1
