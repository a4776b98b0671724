"""The configuration of a model: settings, and what its records or its parent give."""

import dataclasses
from collections.abc import Collection

from avl_tf import fields
from avl_tf.errors import UserError
from avl_tf.settings import checking, setting
from avl_tf.settings.audio import AUDIO_CHECK, AudioConfig

WIDEST = 8192
IMAGE_ENCODERS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    "efficientnet_lite0",
)
# The audio encoders and their authors' widths.
AUDIO_ENCODERS = {
    "resdavenet": (128, 128, 256, 512, 1024),
    "davenet": (128, 256, 512, 512, 1024),
    "resdavenet_vq": (128, 128, 256, 512, 1024),
}
_RESDAVENET = AUDIO_ENCODERS["resdavenet"]


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """What the model is built from; saved with every run.

    audio and visual_dims (the widths of the visual streams, 2D first; none with an
    image encoder) come from the records or from the parent run, languages from the
    names of the records, the rest from flags. languages: those with an audio branch
    each, in order; none in a model of one audio branch without a name.
    """

    visual_dims: tuple[int, ...]
    audio: AudioConfig = AudioConfig()
    languages: tuple[str, ...] = ()
    audio_encoder: str = setting(
        "resdavenet",
        "resdavenet (AVLnet), davenet (Harwath et al. 2018: five convolutions), or "
        "resdavenet_vq (Harwath et al. 2020: with codebooks, see --vq_layers).",
        choices=tuple(AUDIO_ENCODERS),
        shapes_weights=True,
    )
    audio_widths: tuple[int, ...] = setting(
        _RESDAVENET,
        "Channels of ResDAVEnet's first layer and of its stages (the authors': "
        "128,128,256,512,1024), or of DAVEnet's five layers, for which this default "
        "stands for its authors' 128,256,512,512,1024.",
        lower=1,
        upper=WIDEST,
        shapes_weights=True,
    )
    blocks_per_stage: int = setting(
        2,
        "Residual blocks in each stage of ResDAVEnet (the authors': 2).",
        lower=1,
        upper=64,
        shapes_weights=True,
    )
    embedding_dim: int = setting(
        4096,
        "Width of the shared embedding space (the paper's: 4096).",
        lower=1,
        upper=16_384,
        shapes_weights=True,
    )
    audio_head: str = setting(
        "official",
        "official: the gate before the last linear layer, as the released weights; "
        "paper: the gate in the embedding space, as Eq. 2; fused: as the released "
        "AVLnet-Text-Fused, for clips without words; linear: one layer; nonlinear: two "
        "with a ReLU between (AVLnet's Table 3).",
        choices=("official", "paper", "fused", "linear", "nonlinear"),
        shapes_weights=True,
    )
    visual_head: str = setting(
        "gated",
        "gated: a gate in the embedding space (AVLnet, Eq. 1); linear and nonlinear as "
        "of --audio_head.",
        choices=("gated", "linear", "nonlinear"),
        shapes_weights=True,
    )
    head_hidden_dim: int = setting(
        0,
        "Width between the two layers of a nonlinear head; 0 is --embedding_dim "
        "(unstated in AVLnet).",
        upper=16_384,
        shapes_weights=True,
    )
    similarity: str = setting(
        "dot",
        "What pairs are scored by: dot, the product of two embeddings (AVLnet). Or, "
        "without heads, the local features of a caption against those of an image, for "
        "which an --image_encoder is needed (DAVEnet): sisa, all in the mean; misa, "
        "each step's best region; sima, each region's best step.",
        choices=("dot", "sisa", "misa", "sima"),
        shapes_weights=True,
    )
    audio_attention: bool = setting(
        False,
        "Self-attention of one head before the last stage of ResDAVEnet (Ohishi et al. "
        "2020; the other papers: none).",
        shapes_weights=True,
    )
    shared_audio: bool = setting(
        False,
        "One audio branch hears all languages; otherwise each has its own weights (the "
        "papers).",
    )
    normalize_embeddings: bool = setting(
        False,
        "L2-normalise the embeddings, so that a similarity is a cosine. Unstated in "
        "'Hindi as a Second Language'; off is the inner product of its equations, and "
        "AVLnet.",
    )
    image_encoder: str = setting(
        "",
        "CNN that is trained with the model on the images of the records "
        "(data_prep.extract --keep_images); empty: frozen features (the papers: either "
        "for Places, with resnet152).",
        choices=("", *IMAGE_ENCODERS),
        shapes_weights=True,
    )
    image_width: float = setting(
        1.0,
        "Factor on the channels of the image encoder's layers; weights from a file are "
        "of 1.",
        lower=1e-3,
        upper=16,
        shapes_weights=True,
    )
    visual_streams: str = setting(
        "all",
        "Streams of frozen features that the model sees by, of those in the records: "
        "all (AVLnet: 2D and 3D), or one.",
        choices=("all", "2d", "3d"),
    )
    visual_pooling: str = setting(
        "max",
        "What stands for a clip of features: each stream's maximum over time (AVLnet), "
        "or its feature at the clip's centre (Boggust et al. 2019).",
        choices=("max", "center"),
    )
    visual_scale: float = setting(
        1.0,
        "Factor on the L2-normalised visual features inside the model (the authors': "
        "1; about 20 lets short trainings start at once).",
        lower=0,
        upper=1e6,
    )
    mask_padding_in_training: bool = setting(
        False,
        "Average over the true frames only in training too (the authors average over "
        "the padding).",
    )
    pad_db: float = setting(
        0.0,
        "Log-mel value of padding frames in dB (the authors': 0, the loudest value; "
        "-80 is silence).",
        lower=-1000,
        upper=1000,
    )
    vq_layers: tuple[int, ...] = setting(
        (3,),
        "Codebooks of --audio_encoder=resdavenet_vq: 1 is behind the first "
        "convolution, 2 to 5 behind the stages (the paper: 2,3 and 3); empty: none "
        "yet. Those that a parent has not start at random.",
        lower=1,
        upper=65,
        shapes_weights=True,
    )
    codebook_size: int = setting(
        1024,
        "Codes in each codebook (the paper: 1024).",
        lower=2,
        upper=2**20,
        shapes_weights=True,
    )
    commitment_cost: float = setting(
        1.0,
        "Weight of what pulls local features to their codes (the paper: 1).",
        upper=1e6,
    )
    codebook_decay: float = setting(
        0.99,
        "Of the running means that the codes are (the paper: 0.99).",
        upper=0.999999,
    )
    jitter: float = setting(
        0.12,
        "Probability that a local feature is its neighbour's in training, on each side "
        "(the paper: 0.12).",
        upper=0.5,
    )
    vq_compat: str = setting(
        "official",
        "official: as the authors' code, whose jitter also moves the map one step "
        "earlier, and is behind the first convolution and the first stage only; paper: "
        "behind each codebook, not moved.",
        choices=("official", "paper"),
    )

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the audio encoder: audio_widths, or its authors'."""
        if self.audio_widths == _RESDAVENET:
            return AUDIO_ENCODERS[self.audio_encoder]
        return self.audio_widths

    @property
    def codebooks(self) -> tuple[int, ...]:
        """The positions of codebooks, in order; see model.codebooks."""
        return self.vq_layers if self.audio_encoder == "resdavenet_vq" else ()

    @property
    def branches(self) -> tuple[str, ...]:
        """The towers, by what they embed: the names of embeddings and directions."""
        heard = [f"audio:{language}" for language in self.languages]
        return (*(heard or ["audio"]), "visual")

    @property
    def has_maps(self) -> bool:
        """Whether a clip is embedded as a map and not as one vector.

        An audio embedding is [T', embedding_dim + 1] then, the last 1 at steps that
        hold audio and else 0; a visual one [P, embedding_dim], a row a region.
        """
        return self.similarity in ("misa", "sima")

    def require_vectors(self, path: str) -> None:
        """UserError if a model has no vectors to index, serve or mine by."""
        if self.has_maps:
            raise UserError(
                f"{path}: a model of --similarity={self.similarity} embeds a clip as a "
                "map, not as the one vector that this needs. Evaluate it by "
                "avl_tf.evaluate and see it by avl_tf.matchmaps, or train one of "
                "--similarity=sisa, whose embeddings are vectors."
            )

    def require_one_language(self, languages: Collection[str]) -> None:
        """UserError if a model of maps is to hear several languages."""
        if self.has_maps and len(languages) > 1:
            raise UserError(
                f"--similarity={self.similarity} is of a caption and an image, not of "
                "two captions: name one language in --records, or take "
                "--similarity=sisa."
            )

    def to_json(self) -> dict:
        """Returns what from_json reads."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: dict, path: str) -> "ModelConfig":
        """Reads what to_json wrote; ValueError names the file and the fault."""
        try:
            check(value, "model")
            made = dict(value, audio=AudioConfig(**value.get("audio", {})))
        except UserError as error:
            raise UserError(
                f"{path}: not the model configuration of this version ({error})."
            ) from None
        for name in ("visual_dims", "audio_widths", "languages", "vq_layers"):
            if name in made:
                made[name] = tuple(made[name])
        return cls(**made)


check = checking.check(
    ModelConfig,
    {
        "visual_dims": fields.items(fields.whole(1, 2**20)),
        "audio": AUDIO_CHECK,
        "languages": fields.items(fields.text()),
    },
)
