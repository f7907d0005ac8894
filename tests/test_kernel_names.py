from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ds2prof import kernel_classes
from ds2prof.kernel_names import canonical_name, kernel_class, op_class, short_name
from tests.real_kernels import kernel_times

LAMBDA = "ns::f(ns::It&)::{lambda()#2}::operator()() const::{lambda(float)#1}"

# One kernel as several tools spell it: binutils (CUPTI, PyTorch), NVIDIA (Nsight), LLVM (ROCm), or the name alone.
SPELLINGS = {
    "k<32>": ["k<32>", "void k<32>(int)", "void k<(int)32>(int)", "k<(int)32>", "void k<32u>(unsigned int)", "k< 32 >"],
    "k<true,false>": ["void k<true, false>(int)", "k<(bool)1, (bool)0>(int)"],
    "k<-2>": ["void k<-2>()", "void k<(int)-2>(T1)"],
    "k<2>": ["void k<2ul>(long)", "k<(unsigned long)2>(long)", "void k<(ns::Kind)2>()"],
    "k<float const*,int>": ["void k<float const*, int>(int)", "void k<const float *, int>(int)"],
    "k<ns::A<int,2> const&>": ["k<ns::A<int, 2ul> const&>(int)", "void k<const ns::A<int, (unsigned long)2> &>(T1)"],
    "k<a<b<int>>>": ["void k<a<b<int> > >(int)", "k<a<b<int>>>(int)"],
    "(anonymous namespace)::k": [
        *("(anonymous namespace)::k(int)", "<unnamed>::k(int)", "{anonymous}::k(int)", "_GLOBAL__N__1f_2_k_cu::k(int)"),
        *("`anonymous namespace'::k(int)", "_NV_ANON_NAMESPACE::k(int)"),
    ],
    "k<f(g&)::{lambda(int,int)#2}>": [
        "void k<f(g&)::{lambda(int, int)#2}>(int)",
        "void k<f(g &)::[lambda(int, int) (instance 2)]>(T1)",
        "void k<f(g&)::'lambda0'(int, int)>(int)",
    ],
    "k<f()::{lambda(int)#1}::operator()(int) const::{lambda()#1}>": [
        "k<f()::{lambda(int)#1}::operator()(int) const::{lambda()#1}>(int)",
        "k<f()::[lambda(int) (instance 1)]::operator ()(int) const::[lambda() (instance 1)]>(T1)",
        "k<f()::'lambda'(int)::operator()(int) const::'lambda'()>(int)",
    ],
    "ns::k<8>": ["std::enable_if<(((8)>(0)))&&ns::has<T>::value, void>::type ns::k<8>(T*)", "ns::k<8>(T *)"],
    "k": ["k(int)", "k(int) [clone .kd]", "k(int) (.kd)", "k(int) const", "k"],
}


@pytest.mark.parametrize(
    ("spelling", "canonical"), [(spelling, canonical) for canonical, many in SPELLINGS.items() for spelling in many]
)
def test_all_spellings_of_a_kernel_have_one_canonical_form(spelling: str, canonical: str) -> None:
    assert canonical_name(spelling) == canonical


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("void k<32>(int)", "void k<64>(int)"),
        ("void k<float>(int)", "void k<float const>(int)"),
        ("void k<unsigned int>(int)", "void k<int>(int)"),
        ("void a::k<int>(int)", "void b::k<int>(int)"),
        ("void k<f()::{lambda(int)#1}>(int)", "void k<f()::{lambda(int)#2}>(int)"),
        ("void k<f()::{lambda(int)#1}>(int)", "void k<f()::{lambda(long)#1}>(int)"),
    ],
)
def test_different_kernels_keep_different_canonical_forms(one: str, other: str) -> None:
    assert canonical_name(one) != canonical_name(other)


@pytest.mark.parametrize(
    "name",
    [
        *("volta_sgemm_64x64_nt", "triton_poi_fused_add_0", "_ZN2at6native13reduce_kernelILi512EEEvT_", "Kernel"),
        *("Memcpy HtoD (Pageable -> Device)", "[CUDA memcpy DtoH]", "operator()", "k<(", "a > b < c", ""),
    ],
)
def test_what_is_no_demangled_name_stays_as_it_is(name: str) -> None:
    assert canonical_name(name) == name


def test_control_characters_and_runs_of_blanks_become_single_blanks() -> None:
    assert canonical_name(" my\x1b[31m \n\tkernel\u202e name ") == "my [31m kernel name"


PIECES = st.sampled_from(
    [
        *"<>()[]{},:*&#- '`1a_~$.",
        *(
            "::",
            "const ",
            "void ",
            "lambda",
            "operator",
            "operator()",
            "operator<",
            "(int)32",
            "(bool)1",
            "2ul",
            " const",
        ),
        *("(anonymous namespace)", "<unnamed>", "_GLOBAL__N_1", "{lambda(int)#1}", "'lambda0'(int)", "k<", "f(", "T1"),
        *("[lambda(int) (instance 2)]", ".kd", "->", "_Z", "Cijk_", "triton_", "\n", "\u202e", "\u0661", "\u00b2"),
    ]
)
NAMES = st.one_of(st.lists(PIECES, max_size=25).map("".join), st.text(max_size=30))


@settings(max_examples=400, deadline=None)
@given(NAMES)
def test_the_canonical_form_of_a_canonical_form_is_itself(name: str) -> None:
    assert canonical_name(canonical_name(name)) == canonical_name(name)


@settings(max_examples=400, deadline=None)
@given(NAMES)
def test_any_text_has_a_short_name_on_one_line_and_a_class(name: str) -> None:
    short = short_name(name)
    assert short or not canonical_name(name)
    assert not set(short) & set("\n\r\t\x1b\u202e")
    assert {kernel_class(name), op_class(name)} <= set(kernel_classes.CLASSES)


ARGUMENTS = st.recursive(
    st.sampled_from(["int", "float", "32", "true", "ns::F", "f(int)::{lambda(int)#1}", "(anonymous namespace)::G"]),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda parts: f"ns::T<{', '.join(parts)}>"),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ARGUMENTS, max_size=3), st.sampled_from(["void ", "", "unsigned int "]))
def test_return_type_parameters_and_blanks_make_no_difference(arguments: list[str], returned: str) -> None:
    template = f"ns::k<{', '.join(arguments)}>"
    wide = f"{returned}{template.replace('>', ' >').replace(',', ' ,')}(int, {', '.join(['float*', *arguments])})"
    assert canonical_name(wide) == canonical_name(template)


@pytest.mark.parametrize(
    "name",
    [
        *("<" * 10**6, "(" * 10**6, ")" * 10**6, "f(a)" * 10**5, "k" + "<a" * 30000 + ">" * 30000, "a::" * 10**5),
        *("k<" + "a," * 30000 + ">(int)", "_Z" + "9999" * 10**5, "f<'lambda" + "9" * 6000 + "'(int)>", "x" * 10**6),
        *(
            "k<{lambda(int)#" + "9" * 6000 + "}>",
            "operator " * 10**5,
            "std::enable_if" * 10**4,
            "aB" * 10**5 + "Backward",
        ),
    ],
)
def test_hostile_names_are_survived(name: str) -> None:
    canonical = canonical_name(name)
    assert canonical_name(canonical) == canonical
    assert short_name(name)
    assert kernel_class(name) in kernel_classes.CLASSES
    assert op_class(name) in kernel_classes.CLASSES


# Short names

SHORT = {
    "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>, std::array<char*, 3ul> >"
    "(int, at::native::CUDAFunctor_add<float>, std::array<char*, 3ul>)": (
        "vectorized_elementwise_kernel<CUDAFunctor_add<float>>"
    ),
    "void at::native::unrolled_elementwise_kernel<at::native::BUnaryFunctor<float, float, float, "
    "at::native::binary_internal::MulFunctor<float> >, at::detail::Array<char*, 2> >(int)": (
        "unrolled_elementwise_kernel<MulFunctor<float>>"
    ),
    f"void ns::elementwise_kernel<128, 2, at::native::gpu_kernel_impl<{LAMBDA}>(int)::{{lambda(int)#1}}>(int)": (
        "elementwise_kernel<f(float)>"
    ),
    "void ns::par_for<ns::build(ns::Grid &)::[lambda(int, int) (instance 3)]>(ns::Range, T1)": "par_for<build(int)#3>",
    "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float, float, float>, "
    "unsigned int, float, 4> >(at::native::ReduceOp<float>)": "reduce_kernel<MeanOps<float>>",
    "void at::native::(anonymous namespace)::cunn_SoftMaxForward<8, c10::BFloat16, float, c10::BFloat16, "
    "at::native::(anonymous namespace)::LogSoftMaxForwardEpilogue>(c10::BFloat16*, int)": (
        "cunn_SoftMaxForward<BFloat16, LogSoftMaxForwardEpilogue>"
    ),
    "void cutlass::Kernel2<cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x64_64x6_tn_align8>"
    "(cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x64_64x6_tn_align8::Params)": (
        "cutlass_80_tensorop_bf16_s16816gemm_relu_bf16_128x64_64x6_tn_align8"
    ),
    "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<cute::tuple<int, int>, "
    "cutlass::gemm::collective::CollectiveMma<cutlass::gemm::MainloopSm90>>>(int)": "GemmUniversal",
    "void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, int, 512, true, 1, true>(cudnnTensorStruct, float const*)": (
        "bn_fw_tr_1C11_kernel_NCHW<float>"
    ),
    "std::enable_if<!(false), void>::type internal::gemvx::kernel<int, int, float, false, 7>(int)": (
        "gemvx::kernel<float>"
    ),
    "void cub::DeviceRadixSortOnesweepKernel<cub::DeviceRadixSortPolicy<long, int>::Policy800, false, long>(int*)": (
        "DeviceRadixSortOnesweepKernel<long>"
    ),
    "ncclDevKernel_AllReduce_Sum_f32_RING_LL(ncclDevKernelArgsStorage<4096ul>)": (
        "ncclDevKernel_AllReduce_Sum_f32_RING_LL"
    ),
    "Cijk_Alik_Bljk_BBS_BH_MT256x192x64_MI16x16x1_SN_LDSB1_AFC1": "Cijk_Alik_Bljk_BBS_BH_MT256x192x64_MI16x16x1",
    "saxpy(double *, double *, int)": "saxpy",
    "ns::__hidden_kernel(int) [clone .kd]": "__hidden_kernel",
    "void ns::broken<ns::A<int, float>(int": "broken",
    **{
        name: name
        for name in (
            *("nvjet_tst_192x8_64x8_4x1_v_bz_TNT", "triton_red_fused_add_mean_mul_pow_rsqrt_0", "volta_sgemm_64x64_nt"),
            *("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64_execute_kernel", "_Z5saxpyPdS_S_di"),
            "Memcpy HtoD (Pageable -> Device)",
        )
    },
}


@pytest.mark.parametrize(("name", "short"), SHORT.items())
def test_a_short_name_keeps_what_a_tuner_needs(name: str, short: str) -> None:
    assert short_name(name) == short


def test_a_short_name_that_would_be_long_drops_its_arguments_first() -> None:
    name = f"void ns::{'a' * 50}_kernel<ns::SomeFunctorWithALongName<float>>(int)"
    assert short_name(name) == f"{'a' * 50}_kernel"


# Real files


def test_short_names_of_a_real_trace_are_short_and_canonical_ones_stay_apart(corpus: Path) -> None:
    names = set(kernel_times(corpus / "kineto" / "AMD-AGI__TraceLens__h100_bert-small.json.gz"))
    assert len({canonical_name(name) for name in names}) == len(names)
    assert max(len(short_name(name)) for name in names if "<" in name and "cutlass" not in name) <= 60
