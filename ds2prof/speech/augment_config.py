"""How speech is made different each time it is heard, declared; ``augment`` does it. Needs no NumPy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """The masks over a spectrum.

    Attributes:
        warp_frames: A point of time is moved by less than so much; 0 moves none.
        frequency_masks: Bands of bins that are masked.
        widest_bins: A band has 0 to so many bins.
        time_masks: Stretches of frames that are masked.
        longest_frames: A stretch has 0 to so many frames.
        longest_share: A stretch has 0 to this share of all frames at most, if that is fewer.
    """

    warp_frames: int = 5
    frequency_masks: int = 1
    widest_bins: int = 27
    time_masks: int = 1
    longest_frames: int = 70
    longest_share: float = 1.0


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """What is done to an utterance before and after it becomes a spectrum.

    Attributes:
        tempo: Range of the speaking rate's factor; None leaves it.
        stretch: Range of the factor on length and pitch period; None leaves both.
        gain_db: Range of the gain; None leaves it.
        noise_probability: How often noise is added, where there are noises.
        noise_level: Range of the noise's root mean square as a share of the speech's.
        masks: The masks over the spectrum; None is none.
    """

    tempo: Range | None = None
    stretch: Range | None = None
    gain_db: Range | None = None
    noise_probability: float = 0.4
    noise_level: Range = (0.0, 0.5)
    masks: SpecAugment | None = None


TEMPO_AND_GAIN: Final = AugmentConfig(tempo=(0.85, 1.15), gain_db=(-6.0, 8.0))
"""deepspeech.pytorch's ``--speed-volume-perturb``."""

STRETCH_AND_MASKS: Final = AugmentConfig(
    stretch=(0.85, 1.15),
    masks=SpecAugment(warp_frames=0, frequency_masks=2, widest_bins=20, time_masks=10, longest_share=0.03),
)
"""NVIDIA's RNN-T: always stretched, two bands of up to 20 bins, ten stretches of up to 3 % of the frames."""

AUGMENTS: Final = {
    "none": AugmentConfig(),
    "tempo-gain": TEMPO_AND_GAIN,
    "masks": AugmentConfig(masks=SpecAugment()),
    "tempo-gain-masks": replace(TEMPO_AND_GAIN, masks=SpecAugment()),
    "rnnt": STRETCH_AND_MASKS,
}
"""Name -> what is done. Noise is added by each of them where noises are given."""
