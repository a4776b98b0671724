"""The constants of the log-mel spectrogram, which records and models carry."""

import dataclasses

from avl_tf import fields
from avl_tf.errors import UserError

# Hz, the authors', of all sound that is not asked for at another rate.
SAMPLE_RATE = 16000

# As asdict makes it of an AudioConfig. No front end of speech comes near the bounds;
# memory is in proportion to them.
_BOUNDS: dict[str, fields.Check] = {
    "sample_rate": fields.whole(1, 768_000),
    "window_length": fields.whole(1, 2**16),
    "hop_length": fields.whole(1, 2**16),
    "n_mels": fields.whole(1, 1024),
    "fmin_hz": fields.number(0, 384_000),
    "fmax_hz": fields.number(0, 384_000),
    "preemphasis": fields.number(0, 1),
    "power_floor": fields.number(1e-37, 1),
    "dynamic_range_db": fields.number(1e-3, 1000),
}
AUDIO_CHECK = fields.record(_BOUNDS, optional=_BOUNDS)


@dataclasses.dataclass(frozen=True)
class AudioConfig:
    """Constants of the log-mel spectrogram; the defaults are the authors'.

    Source: Rouditchenko et al. 2021 (AVLnet) section 3.1; authors'
    audio_to_spectrograms.py.
    """

    sample_rate: int = SAMPLE_RATE  # Hz
    window_length: int = 400  # samples, also the FFT size
    hop_length: int = 160  # samples
    n_mels: int = 40
    fmin_hz: float = 20.0
    fmax_hz: float = 8000.0
    preemphasis: float = 0.97
    power_floor: float = 1e-10
    dynamic_range_db: float = 80.0

    def __post_init__(self) -> None:
        check = fields.record(_BOUNDS, others=True)
        fields.require(dataclasses.asdict(self), check, "audio")
        if self.fmin_hz >= self.fmax_hz:
            raise UserError(
                f"audio: 'fmin_hz' is {self.fmin_hz}, 'fmax_hz' {self.fmax_hz}: the "
                "first must be lower."
            )

    @property
    def frame_rate(self) -> float:
        """Log-mel frames a second."""
        return self.sample_rate / self.hop_length
