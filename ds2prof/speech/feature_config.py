"""How sound becomes what a network reads, declared; :mod:`ds2prof.speech.features` does it. Needs no NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

WINDOW_NAMES: Final = ("hamming", "hann", "blackman", "bartlett")


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """How samples become features.

    Attributes:
        kind: Which of the two forms that :mod:`ds2prof.speech.features` describes.
        sample_rate_hz: The rate that all audio is brought to.
        window_ms: Length of a window.
        stride_ms: From one window's centre to the next.
        window: One of :data:`WINDOW_NAMES`.
        normalize: Whether mean and standard deviation are taken out.
        fft_points: Length of the transform; None is the window's own.
        mel_bins: Filters of the mel bank.
        preemphasis: Share of the sample before that is subtracted from each; 0 is none.
        trim_db: What is so far below the loudest stretch counts as silence at both ends and is cut off; None keeps it.
        dither: Standard deviation of the noise added to samples within -1 to 1, where random numbers are given.
        stack: Frames that make one.
        pad_bins_to: Bins that a stacked frame is filled to with zeros; 0 leaves it.
    """

    kind: Literal["log-spectrogram", "log-mel"] = "log-spectrogram"
    sample_rate_hz: int = 16_000
    window_ms: int = 20
    stride_ms: int = 10
    window: str = "hamming"
    normalize: bool = True
    fft_points: int | None = None
    mel_bins: int = 80
    preemphasis: float = 0.0
    trim_db: float | None = None
    dither: float = 0.0
    stack: int = 1
    pad_bins_to: int = 0

    def __post_init__(self) -> None:
        """Sees to it that the parts go together."""
        assert self.window in WINDOW_NAMES, self.window
        assert self.transform_samples >= self.window_samples > 0
        assert min(self.stride_samples, self.stack) > 0
        assert not self.pad_bins_to or self.pad_bins_to >= self.stack * self.spectrum_bins

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return self.sample_rate_hz * self.window_ms // 1000

    @property
    def stride_samples(self) -> int:
        """Samples from one window to the next."""
        return self.sample_rate_hz * self.stride_ms // 1000

    @property
    def transform_samples(self) -> int:
        """Samples of a Fourier transform."""
        return self.fft_points or self.window_samples

    @property
    def spectrum_bins(self) -> int:
        """Bins of a frame before stacking."""
        return self.mel_bins if self.kind == "log-mel" else self.transform_samples // 2 + 1

    @property
    def bins(self) -> int:
        """Bins of a frame as the model gets it."""
        return self.pad_bins_to or self.stack * self.spectrum_bins

    @property
    def frame_ms(self) -> int:
        """From one frame as the model gets it to the next."""
        return self.stack * self.stride_ms

    def spectrum_frames(self, samples: int) -> int:
        """Frames of so many samples before stacking."""
        return 1 + samples // self.stride_samples

    def frames(self, samples: int) -> int:
        """Frames of so many samples as the model gets them."""
        return -(-self.spectrum_frames(samples) // self.stack)


LOG_SPECTROGRAM: Final = FeatureConfig()
"""DeepSpeech2's: 161 bins every 10 ms."""

STACKED_LOG_MEL: Final = FeatureConfig(
    kind="log-mel",
    window="hann",
    fft_points=512,
    preemphasis=0.97,
    trim_db=-60.0,
    dither=1e-5,
    stack=3,
    pad_bins_to=256,
)
"""RNN-T's: 80 mel bins, three frames stacked to 240 and filled to 256, every 30 ms."""

FEATURES: Final = {"log-spectrogram": LOG_SPECTROGRAM, "log-mel": STACKED_LOG_MEL}
"""Name -> features."""
