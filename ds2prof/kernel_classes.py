"""The class of a kernel or operator: what kind of work it does, read off its name.

The first rule that fits decides, so the order of the rules is part of their meaning. A rule's words are plain text that
occurs in the name in lower case. A name that no rule knows is ``other``, which is a finding too.

Boundaries that are conventions, not facts:

- Fused attention (flash, fmha, sdpa) is ``other``: two products and a softmax in one are none of the classes.
- ``copy`` is all that moves or rearranges data and computes nothing: casts, layout changes, concatenation, gathering.
- A split-K reduction is part of its product: ``gemm``. cuDNN's transforms and offset tables belong to ``convolution``.
- Products that a recurrent layer or a convolution runs under a product's name are ``gemm``: the name is all there is.
- What Triton fused is named after its shape, ``elementwise`` or ``reduction``, unless the fused operators make a
  softmax or a normalization. Embeddings, sorting, scans, pooling and sparse updates are ``other``.
"""

from __future__ import annotations

import re
from typing import Final

CLASSES: Final = (
    *("gemm", "convolution", "recurrent", "normalization", "elementwise", "reduction"),
    *("ctc", "softmax", "copy", "communication", "other"),
)

Rules = tuple[tuple[str, tuple[str, ...]], ...]

KERNEL_RULES: Final[Rules] = (
    # NCCL, RCCL, NVSHMEM, MSCCL++, PyTorch's symmetric memory, vLLM's own collectives.
    ("communication", ("nccl", "rccl", "hccl", "nvshmem", "rocshmem", "msccl", "deep_ep", "userbuffers", "multimem_")),
    ("communication", ("allreduce", "all_reduce", "cross_device_reduce", "allgather", "all_gather", "sendrecv")),
    ("communication", ("reducescatter", "reduce_scatter", "alltoall", "all_to_all")),
    # Names of no class, or of another, that hold words of the rules further down.
    ("elementwise", ("rotary",)),
    ("other", ("attention", "attn", "fmha", "sdpa", "flash_fwd", "flash_bwd", "flash_splitkv", "prefill", "pagedkv")),
    ("other", ("embedding", "topk", "rnnt", "transducer")),
    # PyTorch and cuDNN; the last four are warp-ctc's.
    ("ctc", ("ctc", "compute_alpha_kernel", "compute_betas_and_grad", "compute_probs_kernel", "prepare_stable_sm")),
    # cuDNN (RNN_blockPersist_fp_LSTM, GRU_elementWise, elemWiseRNNcell), MIOpen (LSTMFwdHidUpdate), PyTorch.
    ("recurrent", ("rnn", "lstm", "gru_", "_gru", "grucell", "grufwd", "grubwd")),
    ("softmax", ("softmax",)),
    ("normalization", ("batch_norm", "batchnorm", "layer_norm", "layernorm", "rms_norm", "rmsnorm", "qk_norm")),
    ("normalization", ("group_norm", "groupnorm", "instance_norm", "instancenorm", "normalization", "welford")),
    ("normalization", ("bn_fw", "bn_bw", "bnfwd", "bnbwd", "ln_fwd", "ln_bwd", "gammabeta", "rowwisemoments")),
    ("normalization", ("computeinternalgradients", "computegradientfusedparams", "computefusedparams")),
    # Changes of layout come before convolutions: cuDNN makes them for its own.
    ("copy", ("nchwtonhwc", "nhwctonchw", "addpadding", "transpose", "permute")),
    # cuDNN with its cutlass and xmma kernels, PyTorch, MIOpen (Sp3AsmConv, Winograd, igemm).
    ("convolution", ("convol", "conv1d", "conv2d", "conv3d", "conv_", "3dconv", "miopenconv", "asmconv", "conv::")),
    ("convolution", ("fprop", "dgrad", "wgrad", "winograd", "implicit_gemm", "implicitgemm", "convuniversal")),
    ("convolution", ("scudnn", "hcudnn", "84cudnn", "88cudnn", "16cudnn", "cudnn::cnn::", "fft2d_", "flip_filter")),
    ("convolution", ("computeoffsetskernel", "computeboffsetskernel", "im2col", "col2im", "vol2col", "col2vol")),
    ("convolution", ("igemm_fwd_gtc", "igemm_bwd_gtc", "igemm_wrw_gtc", "miopenwrw", "depthwise")),
    # cuBLAS (nvjet, xmma_gemm, gemvx), CUTLASS, Tensile (Cijk), composable kernel, Triton's and vLLM's.
    ("gemm", ("gemm", "gemv", "nvjet", "cijk_", "matmul", "bmm", "addmm", "_mm_", "fused_moe", "marlin", "wvsplitk")),
    ("gemm", ("splitkreduce", "reducesplitk", "cublas", "epilogue::impl::globalkernel", "trsm", "syrk")),
    ("copy", ("copy", "memcpy", "memset", "fillbuffer", "cast", "concat", "gather", "indexselect", "index_select")),
    ("copy", ("swapdimension", "reshape_and_cache", "repeat_interleave", "index_elementwise_kernel")),
    ("reduction", ("reduce", "reduction", "argmax", "argmin", "_sum_", "lpnorm", "l2norm", "dot_kernel", "nrm2")),
    # PyTorch, its optimizers (multi_tensor_apply), TensorFlow (Eigen, Bias), MIOpen (OpTensor), vLLM.
    ("elementwise", ("elementwise", "pointwise", "eltwise", "multi_tensor_apply", "eigenmetakernel", "optensor")),
    ("elementwise", ("dropout", "masked_scale", "scalepackedtensor", "scal_kernel", "axpy_kernel", "subtensorop")),
    ("elementwise", ("biasnchw", "biasnhwc", "add_bias", "bias_add", "addbias", "activation", "miopenactive", "_rope")),
    ("elementwise", ("relu", "gelu", "silu", "swiglu", "act_and_mul", "sigmoid", "tanh", "quant", "philox", "fill")),
    ("elementwise", ("adam", "sgd", "triu_tril", "dtensorgeneric", "dtensorlite")),
)
"""(class, words): the first rule with a word in the function's qualified name decides."""

SHELLS: Final = ("::kernel", "::kernel2", "::device_kernel", "::kentry", "eigenmetakernel")
"""Functions that run a class given as template argument: CUTLASS, composable kernel, Eigen."""

SHELL_RULES: Final[Rules] = tuple(
    rule for rule in KERNEL_RULES if rule[0] not in ("communication", "copy", "elementwise")
)
"""For the template arguments of shells, where words for moving data name parts of a kernel, not its work."""

FUNCTOR_RULES: Final[Rules] = (
    ("copy", ("direct_copy_kernel", "copy_device_to_device", "copy_kernel")),
    ("reduction", ("lpnormfunctor", "l2normfunctor")),
    ("normalization", ("batch_norm", "layer_norm", "group_norm")),
    ("ctc", ("ctc_loss",)),
)
"""For elementwise functions, whose work is a functor among the template arguments."""

TRITON_RULES: Final[Rules] = (
    ("softmax", ("softmax",)),
    ("normalization", ("layer_norm", "batch_norm", "group_norm", "rms_norm", "rmsnorm", "instance_norm")),
)
TRITON_SHAPES: Final = {"poi": "elementwise", "red": "reduction", "per": "reduction", "for": "elementwise"}
"""Inductor's kinds of kernel: pointwise, reduction, persistent reduction, foreach."""

TRITON_MOVES: Final = ("to_copy", "constant_pad_nd", "index_select", "clone", "stack", "copy", "cat")
"""Fused operators that compute nothing: a pointwise kernel of these alone is a copy."""

NAMESPACES: Final = ("(anonymous namespace)::", "<unnamed>::", "fbgemm_gpu::", "fbgemm::")
"""Left out before the rules are asked: they hold words that say nothing about the function."""

OPERATOR_RULES: Final[Rules] = (
    ("communication", ("c10d", "nccl", "gloo", "record_param_comms", "all_reduce", "allreduce", "all_gather")),
    ("communication", ("allgather", "reduce_scatter", "alltoall", "all_to_all", "all2all")),
    ("elementwise", ("rotary", "quant")),
    ("other", ("attention", "embedding")),
    ("ctc", ("ctc",)),
    ("recurrent", ("lstm", "gru", "rnn")),
    ("softmax", ("softmax",)),
    ("normalization", ("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm")),
    ("convolution", ("convolution", "conv1d", "conv2d", "conv3d", "conv_transpose", "_conv_", "thnn_conv")),
    ("gemm", ("matmul", "addmm", "bmm", "gemm")),
)
"""For operators whose name is no entry of :data:`OPERATORS`: words in the name, as for kernels."""

OPERATORS: Final[dict[str, tuple[str, ...]]] = {
    "gemm": (
        "mm",
        "mv",
        "addmv",
        "addr",
        "linear",
        "linear_backward",
        "einsum",
        "dot",
        "vdot",
        "tensordot",
        "mkldnn_linear",
    ),
    "reduction": (
        *("sum", "nansum", "mean", "nanmean", "prod", "max", "min", "amax", "amin", "aminmax", "argmax", "argmin"),
        *("any", "all", "var", "std", "var_mean", "std_mean", "norm", "vector_norm", "logsumexp", "count_nonzero"),
        *("nll_loss", "nll_loss_nd", "sum_to_size", "foreach_norm", "median", "mode"),
    ),
    "copy": (
        *("copy", "to", "to_copy", "to_dense", "clone", "contiguous", "cat", "concat", "stack", "type_as", "float"),
        *("half", "bfloat16", "double", "pad", "constant_pad_nd", "repeat", "repeat_interleave", "roll", "flip"),
        *("index", "index_select", "index_copy", "index_put", "index_put_impl", "gather", "take", "masked_select"),
        *("pin_memory", "unfold", "im2col", "copy_from", "foreach_copy", "chunk_cat", "pack_padded_sequence"),
        *("flatten_dense_tensors", "copy_bucket_to_grad", "embedding", "reshape_and_cache_flash"),
    ),
    "elementwise": (
        *("add", "sub", "rsub", "mul", "div", "divide", "true_divide", "floor_divide", "remainder", "fmod", "neg"),
        *("abs", "sign", "exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "reciprocal", "square"),
        *("pow", "sin", "cos", "tan", "tanh", "sigmoid", "erf", "floor", "ceil", "round", "trunc", "lerp", "logit"),
        *("clamp", "clamp_min", "clamp_max", "clip", "hardtanh", "relu", "relu6", "leaky_relu", "elu", "gelu", "silu"),
        *("mish", "softplus", "hardswish", "prelu", "threshold", "threshold_backward", "log_sigmoid", "nan_to_num"),
        *("eq", "ne", "lt", "le", "gt", "ge", "where", "s_where", "maximum", "minimum", "logical_and", "logical_or"),
        *("logical_not", "bitwise_and", "bitwise_or", "bitwise_not", "isnan", "isinf", "isfinite", "masked_fill"),
        *("addcmul", "addcdiv", "dropout", "native_dropout", "feature_dropout", "bernoulli", "uniform", "normal"),
        *("random", "rand", "randn", "randint", "fill", "zero", "zeros", "ones", "full", "zeros_like", "ones_like"),
        *("full_like", "new_zeros", "new_ones", "new_full", "arange", "linspace", "mse_loss", "l1_loss"),
        *("smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "mul_out"),
        *("fused_adam", "fused_adamw", "fused_sgd", "accumulategrad", "tril", "triu"),
    ),
}
"""Class -> operators, as PyTorch names them less the namespace, a leading or last ``_`` and ``_backward``."""


def kernel_class(name: str) -> str:
    """The class of a kernel by its name in any dialect: demangled, mangled, short, or a code generator's."""
    function, arguments = _function_and_arguments(name.lower())
    if function.startswith("triton_"):
        return _triton_class(function)
    found = _first(KERNEL_RULES, function)
    if function.endswith(SHELLS) and found in (None, "elementwise"):
        found = _first(SHELL_RULES, arguments) or found
    elif found == "elementwise":
        found = _first(FUNCTOR_RULES, arguments) or found
    return found or "other"


def op_class(name: str) -> str:
    """The class of an operator of the host by its name: ``aten::addmm`` is gemm, views and allocations are other.

    Nodes of autograd count as what they differentiate: ``AddmmBackward0`` is gemm.
    """
    qualified = _without(NAMESPACES, name.rpartition("evaluate_function: ")[2])
    operator = qualified.rpartition("::")[2].partition(".")[0]
    if re.search(r"Backward\d*$", operator):
        operator = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"Backward\d*$", "", operator))
    operator = operator.lower()
    if operator.startswith("triton_"):
        return _triton_class(operator)
    plain = operator.removesuffix("_backward").removesuffix("_forward").strip("_")
    plain = plain.removeprefix("foreach_").removeprefix("linalg_")
    for kind, operators in OPERATORS.items():
        if operator in operators or plain in operators:
            return kind
    return _first(OPERATOR_RULES, qualified.lower() if "Backward" not in qualified else operator) or "other"


def _first(rules: Rules, text: str) -> str | None:
    """The class of the first rule with a word in ``text``; None where none has."""
    for kind, words in rules:
        for word in words:
            if word in text:
                return kind
    return None


def _function_and_arguments(lowered: str) -> tuple[str, str]:
    """(a function's qualified name, what follows it), for a name in lower case; both of bounded length."""
    text = lowered[:4096].lstrip()
    if text.startswith("_z"):
        return _mangled_function(text)
    text = _without(NAMESPACES, text)
    if text.startswith("std::enable_if"):  # a return type: the function's name comes behind it
        text = text.partition("::type ")[2] or text
    brackets = [place for place in (text.find("<"), text.find("(")) if place >= 0]
    end = min(brackets, default=len(text))
    return text[:end].removeprefix("void "), text[end:]


def _mangled_function(text: str) -> tuple[str, str]:
    """The same for an Itanium-mangled name: its leading length-prefixed identifiers, unnamed namespaces left out."""
    place = len(text) - len(text[2:].lstrip("nkl"))
    parts: list[str] = []
    while True:
        digits = re.compile(r"\d{1,4}").match(text, place)
        if digits is None:
            return "::".join(parts), text[place:]
        place = digits.end() + int(digits[0])
        identifier = text[digits.end() : place]
        if not identifier.startswith(("_global__n_", "fbgemm")):
            parts.append(identifier)


def _triton_class(function: str) -> str:
    """The class of a kernel from PyTorch's Inductor, ``triton_<shape>_fused_<operators>_<number>``."""
    shape, _, fused = function.removeprefix("triton_").partition("_fused_")
    found = _first(TRITON_RULES, fused)
    if found is not None:
        return found
    if shape in ("red", "per") and "rsqrt" in fused and ("mean" in fused or "var" in fused):
        return "normalization"
    if shape == "poi" and not _without(TRITON_MOVES, fused).strip("_0123456789") and fused.strip("_0123456789"):
        return "copy"
    if shape in TRITON_SHAPES:
        return TRITON_SHAPES[shape]
    known = _first(KERNEL_RULES, function)
    return known or ("gemm" if shape in ("mm", "tem") or shape.startswith("mm_") else "other")


def _without(words: tuple[str, ...], text: str) -> str:
    for word in words:
        text = text.replace(word, "")
    return text
