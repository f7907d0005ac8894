from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from ds2prof import kernel_classes
from ds2prof.kernel_names import kernel_class, op_class
from tests.real_kernels import kernel_times

CLASSES = {
    "gemm": [
        *(
            "volta_sgemm_64x64_nt",
            "ampere_h16816gemm_128x64_ldg8_stages_64x3_tn",
            "turing_fp16_s1688gemm_fp16_128x128_nn",
        ),
        *("nvjet_hsh_128x256_64x4_1x2_h_bz_coopA_NTN", "sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize128x128x64"),
        "void cutlass::Kernel2<cutlass_80_wmma_tensorop_bf16_s161616gemm_bf16_16x16_32x1_nn_align8>(int)",
        "cutlass3x_sm90_tensorop_s64x256x16gemm_bf16_bf16_f32_void_bf16_128x256x64_2x1x1_0_tnn_align8",
        "void cutlass::device_kernel<cutlass::gemm::kernel::GemmUniversal<cute::tuple<int, int>>>(int)",
        "void gemv2T_kernel_val<int, int, float, float, float, float, 128, 16, 4, 4, false>(int)",
        "std::enable_if<!(false), void>::type internal::gemvx::kernel<int, int, float>(int)",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float, float>(int)",
        "void cutlass::Kernel<cutlass::reduction::kernel::ReduceSplitK<cutlass::MatrixShape<4, 128>>>(int)",
        *("Cijk_Ailk_Bljk_SB_MT128x64x16_SE_K1", "_Z13gemmk1_kernelI6float2Li256EEv18cublasGemmk1ParamsIT_E"),
        *("triton_tem_fused_addmm_3", "triton_mm", "matmul_kernel", "fused_moe_kernel"),
    ],
    "convolution": [
        "void cudnn::cnn::wgrad_alg0_engine<float, 128, 5, 5, 3, 3, 3, false, 512>(int)",
        "void implicit_convolve_sgemm<float, float, 1024, 6, 7, 3, 3, 5, 1, false, true, true>(int)",
        "sm80_xmma_fprop_implicit_gemm_indexed_tf32f32_tf32f32_f32_nhwckrsc_nchw_tilesize128x128x16_stage4",
        "sm90_xmma_dgrad_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64_warpgroupsize1x1x1",
        "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816fprop_optimized_bf16_256x64_32x4_nhwc_align8>(int)",
        "void cutlass::device_kernel<cutlass::conv::kernel::ConvUniversal<cutlass::conv::ConvProblemShape<2>>>(int)",
        "_ZN13cutlass_cudnn6KernelINS_4conv6kernel23ImplicitGemmConvolutionINS_4gemm9GemmShapeILi128EEEEEEvT_",
        *("turing_h1688cudnn_256x64_ldg8_relu_exp_interior_nhwc_tn_v1", "volta_scudnn_winograd_128x128_ldg1_ldg4_relu"),
        *(
            "cask_cudnn::computeOffsetsKernel(cask_cudnn::ComputeOffsetsParams)",
            "void fft2d_r2c_32x32<float, false>(int)",
        ),
        "void at::native::(anonymous namespace)::conv_depthwise2d_forward_kernel<3, float, int>(int)",
        "void at::native::im2col_kernel<float>(long)",
        *(
            "igemm_wrw_gtcx2_nhwc_bf16_bx0_ex1_bt64x64x64",
            "miopenSp3AsmConv_v21_1_2_gfx9_fp32_stride1",
            "MIOpenConvUni",
        ),
        *("naive_conv_ab_nonpacked_fwd_nchw_float", "triton_tem_fused_convolution_2"),
    ],
    "recurrent": [
        "void LSTM_elementWise_fp<__half, __half, float, (cudnnRNNBiasMode_t)2>(int, int)",
        "void GRU_elementWise_bp1<float, float, float>(int, int)",
        "void RNN_blockPersist_fp_LSTM<float, float, float, (cudnnRNNBiasMode_t)2, 4, 4>(int)",
        "void elemWiseRNNcell<float, float, float, (cudnnRNNMode_t)2>(int)",
        "void persistentRNN<float, 64>(int)",
        "void at::native::(anonymous namespace)::kernel::lstm_cell_forward<float, float, int, 1>(int)",
        "void at::native::(anonymous namespace)::kernel::gru_cell_backward<float, float, int, 1>(int)",
        "LSTMFwdHidUpdate",
    ],
    "ctc": [
        "void at::native::(anonymous namespace)::ctc_loss_log_alpha_gpu_kernel<float, long>(float*)",
        "void at::native::(anonymous namespace)::ctc_loss_backward_collect_nonblank_gpu_kernel<float, long>(float*)",
        "void compute_alpha_kernel<float, 32, 1>(float const*, int const*)",
        "void compute_betas_and_grad_kernel<float, 32, 1>(float const*)",
    ],
    "softmax": [
        "void at::native::(anonymous namespace)::cunn_SoftMaxForward<4, float, float, float>(float*)",
        "void (anonymous namespace)::softmax_warp_forward<float, float, float, 5, true, false>(float*)",
        "void scaled_masked_softmax_warp_backward<float, 7>(float*)",
        "triton_per_fused__softmax_1",
    ],
    "normalization": [
        "void cudnn::bn_bw_1C11_kernel_new<float, float, float2, 512, true, 1>(float)",
        "void at::native::batch_norm_collect_statistics_kernel<at::native::InvStd, float, float, float, int>(int)",
        "void at::native::(anonymous namespace)::vectorized_layer_norm_kernel<float, float>(int)",
        "void at::native::(anonymous namespace)::GammaBetaBackwardCUDAKernel<float, float>(long)",
        "void vllm::rms_norm_kernel<c10::BFloat16, 8, 2>(int)",
        "_ZN7ck_tile6kentryILi1ENS_12Rmsnorm2dFwdINS_27Rmsnorm2dFwdPipelineOnePassEEEEEvT_",
        *(
            "MIOpenBatchNormFwdTrainSpatial",
            "triton_red_fused_add_mean_mul_pow_rsqrt_0",
            "triton_per_fused_native_layer_norm_4",
        ),
        "void at::native::unrolled_elementwise_kernel<at::native::batch_norm_elementwise(int)::{lambda(float)#1}>(int)",
    ],
    "elementwise": [
        "void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>(int)",
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::(anonymous namespace)"
        "::TensorListMetadata<4>, at::native::(anonymous namespace)::FusedAdamMathFunctor<float, 4>>(int)",
        "void at::native::(anonymous namespace)::fused_dropout_kernel_vec<float, float, unsigned int, 1, 4>(int)",
        "void at::native::(anonymous namespace)::distribution_elementwise_grid_stride_kernel<float, 4>(int)",
        "_ZN2at6native18elementwise_kernelILi128ELi4EZNS0_15add_kernel_cudaERNS_14TensorIteratorEEEviT1_",
        "_Z21kernelPointwiseApply3I10TensorEQOpIfhEhffjLi1EEv10OffsetInfoIT0_T3_XT4_EE",
        "_ZN5Eigen8internal15EigenMetaKernelINS_15TensorEvaluatorIKNS_14TensorAssignOpINS_9TensorMapEEEEEiEEvT_T0_",
        *("triton_poi_fused_add_mul_0", "triton_poi_fused_convolution_relu_2", "Op2dTensorGeneric"),
        "void vllm::rotary_embedding_kernel<c10::BFloat16, true>(long const*)",
    ],
    "reduction": [
        "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps<float>>>(int)",
        "void cub::DeviceReduceSingleTileKernel<cub::DeviceReducePolicy<float>, float*>(int)",
        "void dot_kernel<float, 128, 0>(int)",
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<TensorListMetadata<1>, "
        "at::native::(anonymous namespace)::LpNormFunctor<float, (at::native::NormType)1>>(int)",
        "_ZN5Eigen8internal15EigenMetaKernelINS_15TensorEvaluatorIKNS_23TensorTupleReducerOpINS0_7ArgMaxEEEEEEvT_",
        *("triton_red_fused_sum_3", "triton_per_fused_mean_1"),
    ],
    "copy": [
        *("[CUDA memcpy HtoD]", "[CUDA memset]", "__amd_rocclr_copyBuffer", "__amd_rocclr_fillBufferAligned"),
        "void at::native::(anonymous namespace)::CatArrayBatchedCopy<float, unsigned int, 3, 128, 1>(float*)",
        "void cudnn::ops::nchwToNhwcKernel<float, float, float, false, true, (cudnnKernelDataType_t)2>(int)",
        "void at::native::unrolled_elementwise_kernel<at::native::direct_copy_kernel_cuda(at::TensorIteratorBase&)"
        "::{lambda()#3}::operator()() const::{lambda(float)#1}>(int)",
        "void at::native::(anonymous namespace)::indexSelectLargeIndex<float, long, unsigned int, 2, 2, -2, true>(int)",
        *(
            "batched_transpose_16x64_pack_1x4_ediv_1x2_half",
            "triton_poi_fused__to_copy_1",
            "triton_poi_fused_clone_cat_5",
        ),
    ],
    "communication": [
        *("ncclKernel_AllReduce_RING_LL_Sum_float(ncclWorkElem)", "ncclDevKernel_Broadcast_RING_LL(ncclDevComm*)"),
        *("_Z33ncclAllReduceTreeLLKernel_sum_i328ncclColl", "rcclGenericKernel", "mscclKernel_Sum_half_LL"),
        "void (anonymous namespace)::multimem_all_reduce_kernel<c10::BFloat16, 16>(int)",
        "void vllm::cross_device_reduce_1stage<c10::BFloat16, 8>(int)",
        "void nvshmemi_transfer_put_kernel<int>(int)",
    ],
    "other": [
        "void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<64, 128, cutlass::bfloat16_t>>(int)",
        "cudnn_generated_fort_native_sdpa_sm90_flash_fprop_wgmma_f16_knob_3_64x64x64_4x1x1_kernel0_0",
        "fmha_cutlassF_bf16_aligned_64x64_rf_sm80(int)",
        "void cutlass::device_kernel<flash::FlashAttnFwdSm90<flash::CollectiveMainloopFwdSm90<2>>>(int)",
        "void split_embedding_backward_codegen_rowwise_adagrad_unweighted_kernel_cta_per_row_1<float>(int)",
        "void cub::DeviceRadixSortOnesweepKernel<cub::DeviceRadixSortPolicy<long>>(int)",
        "void at::native::(anonymous namespace)::max_pool_forward_nchw<float, long>(int)",
        "void fbgemm_gpu::bounds_check_indices_kernel<long>(int)",
        "comm_kernel(int)",
        *("attn_fwd", "saxpy", "Kernel", ""),
    ],
}


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for kind, names in CLASSES.items() for name in names])
def test_a_kernels_name_tells_its_class(name: str, kind: str) -> None:
    assert kernel_class(name) == kind


def test_every_class_is_tested() -> None:
    assert set(CLASSES) == set(kernel_classes.CLASSES)


def test_every_rule_names_a_class_and_every_word_is_in_lower_case() -> None:
    rules = (*kernel_classes.KERNEL_RULES, *kernel_classes.FUNCTOR_RULES, *kernel_classes.OPERATOR_RULES)
    assert {kind for kind, _ in rules} <= set(kernel_classes.CLASSES)
    assert all(word == word.lower() and word for _, words in rules for word in words)


def test_no_word_stands_behind_another_that_always_fits_before_it() -> None:
    seen: list[str] = []
    for kind, words in kernel_classes.KERNEL_RULES:
        assert not [word for word in words for earlier in seen if earlier in word], kind
        seen += words


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        *((name, "gemm") for name in ("aten::addmm", "aten::mm", "aten::bmm", "aten::linear", "aten::matmul")),
        *((name, "gemm") for name in ("AddmmBackward0", "autograd::engine::evaluate_function: MmBackward0")),
        *((name, "convolution") for name in ("aten::convolution", "aten::mkldnn_convolution", "aten::_convolution")),
        *((name, "convolution") for name in ("aten::convolution_backward", "ConvolutionBackward0", "aten::conv2d")),
        *((name, "recurrent") for name in ("aten::lstm", "aten::mkldnn_rnn_layer", "aten::_cudnn_rnn_backward")),
        *((name, "recurrent") for name in ("aten::_thnn_fused_lstm_cell", "MkldnnRnnLayerBackward0", "aten::gru")),
        *((name, "normalization") for name in ("aten::batch_norm", "aten::native_batch_norm_backward")),
        *((name, "normalization") for name in ("aten::native_layer_norm", "NativeLayerNormBackward0")),
        *((name, "elementwise") for name in ("aten::add_", "aten::mul", "aten::hardtanh_", "aten::masked_fill_")),
        *((name, "elementwise") for name in ("aten::_foreach_add_", "MulBackward0", "torch::autograd::AccumulateGrad")),
        *((name, "reduction") for name in ("aten::sum", "aten::mean", "SumBackward1", "aten::_foreach_norm")),
        *((name, "ctc") for name in ("aten::_ctc_loss", "aten::_ctc_loss_backward", "CtcLossBackward0")),
        *((name, "softmax") for name in ("aten::log_softmax", "aten::_softmax_backward_data", "LogSoftmaxBackward0")),
        *((name, "copy") for name in ("aten::copy_", "aten::to", "aten::_to_copy", "aten::cat", "ToCopyBackward0")),
        *((name, "communication") for name in ("c10d::allreduce_", "record_param_comms", "gloo:all_reduce")),
        *((name, "other") for name in ("aten::view", "aten::empty", "aten::t", "ProfilerStep#3", "aten::max_pool2d")),
        *((name, "other") for name in ("aten::scaled_dot_product_attention", "fbgemm::bounds_check_indices", "")),
        ("triton_poi_fused_add_mul_0", "elementwise"),
    ],
)
def test_an_operators_name_tells_its_class(operator: str, kind: str) -> None:
    assert op_class(operator) == kind


# Real files


@pytest.mark.parametrize(
    ("trace", "leading", "other_at_most"),
    [
        ("AMD-AGI__TraceLens__h100_bert-small.json.gz", "gemm", 0.15),
        ("AMD-AGI__TraceLens__mi300_bert-small.json.gz", "gemm", 0.30),
        ("AMD-AGI__TraceLens__mi210_gpu_only_trace.json.gz", "convolution", 0.05),
        ("AMD-AGI__TraceLens__vllm_decode_full_graph_execution.json.gz", "gemm", 0.10),
        ("facebookresearch__HolisticTraceAnalysis__critical_path_alexnet_trace.json.gz", "convolution", 0.10),
    ],
)
def test_most_of_the_time_of_a_real_trace_has_a_class(
    corpus: Path, trace: str, leading: str, other_at_most: float
) -> None:
    times: Counter[str] = Counter()
    for name, duration in kernel_times(corpus / "kineto" / trace).items():
        times[kernel_class(name)] += duration
    assert times.most_common(1)[0][0] == leading
    assert times["other"] <= other_at_most * times.total()


def test_real_names_of_libraries_have_the_classes_that_they_say(corpus: Path) -> None:
    names = {
        name
        for trace in ("b200_eager_trace", "h100_bert-small", "mi300_bert-small", "mi210_gpu_only_trace")
        for name in kernel_times(corpus / "kineto" / f"AMD-AGI__TraceLens__{trace}.json.gz")
    }
    said = {
        **dict.fromkeys((name for name in names if name.startswith(("nvjet_", "Cijk_"))), "gemm"),
        **dict.fromkeys((name for name in names if "cutlass" in name and "gemm_" in name), "gemm"),
        **dict.fromkeys((name for name in names if name.startswith("igemm_")), "convolution"),
        **dict.fromkeys((name for name in names if "all_reduce" in name or "nccl" in name), "communication"),
        **dict.fromkeys((name for name in names if "::batch_norm_" in name), "normalization"),
    }
    assert len(said) > 25
    assert {name: kernel_class(name) for name in said} == said
