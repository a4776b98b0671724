"""The settings of one training stage: what is learnt from, for how long, and how."""

import dataclasses
from typing import Any

from avl_tf.errors import UserError
from avl_tf.settings import SEEDS, setting

LOSSES = (
    "mms",
    "mms_scheduled",
    "mms_adaptive",
    "mms_masked",
    "infonce",
    "triplet",
    "max_margin",
    "mil_nce",
    "bce",
)
# Margins of losses that have one: AVLnet's, Ilharco's, ResDAVEnet-VQ's, HowTo100M's.
MARGINS = {
    "mms": 0.001,
    "mms_scheduled": 0.001,
    "mms_masked": 0.001,
    "triplet": 1.0,
    "max_margin": 0.1,
}
# Settings of one loss alone, and what they are if they are left out.
OF_ONE_LOSS = {
    "mil_nce_candidates": ("mil_nce", 4),
    "mil_nce_positives": ("mil_nce", "twice"),
    "bce_negatives": ("bce", "sampled"),
    "bce_scale": ("bce", 1.0),
}


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """How one stage is trained and kept; the defaults are the paper's for HowTo100M.

    Source: Rouditchenko et al. 2021 (AVLnet) section 3.1; authors' training.md.
    Unstated: in Ryu et al. 2023 (Hindi as a Second Language), the optimiser, the
        learning rate, the batch size, and what the loss is until the queue is full.
    """

    records: str = setting(
        "",
        "Training records: a folder of data_prep.extract, or FOLDER/SPLIT; of several "
        "languages, es=FOLDER/SPLIT,ro=FOLDER/SPLIT (see --join_by).",
    )
    epochs: int = setting(30, "Passes over the recordings (the paper: 30).")
    batch_size: int = setting(
        4096, "Clips a step over all devices (the paper: 4096).", lower=2
    )
    micro_batch: int = setting(
        0,
        "Clips whose activations a device holds at once: the loss is still over the "
        "whole batch, each clip is embedded twice, and batch norm sees a micro-batch "
        "at a time, as it sees a device's share. 0 holds the whole share (the "
        "authors).",
    )
    learning_rate: float = setting(1e-3, "Adam's (the paper: 1e-3).", lower=1e-12)
    warmup_steps: int = setting(
        0, "Steps in which the learning rate rises from 0 (the paper: 0)."
    )
    learning_rate_decay: float = setting(
        1.0, "Factor on the learning rate after each epoch (the authors': 1)."
    )
    learning_rate_decay_epochs: int = setting(
        1,
        "Epochs from one such fall to the next (ResDAVEnet-VQ: 3, with 0.95; DAVEnet: "
        "40, with 0.1).",
        lower=1,
    )
    final_learning_rate: float = setting(
        0.0,
        "The learning rate falls to this along a half cosine; 0 leaves it to "
        "--learning_rate_decay (the paper).",
    )
    clip_norm: float = setting(
        0.0,
        "Longest gradient over all weights together; a longer one is scaled down. 0 "
        "leaves gradients alone (the authors).",
    )
    weight_decay: float = setting(
        0.0,
        "Times each weight is added to its gradient, after --clip_norm, as Adam of "
        "PyTorch has it (ResDAVEnet-VQ's authors: 5e-7; AVLnet's: 0).",
        upper=1.0,
    )
    loss: str = setting(
        "mms",
        "Loss of each pair of branches (AVLnet: mms; 'Hindi as a Second Language': "
        "infonce; Harwath et al. 2018: triplet; Ohishi et al. 2020: mms_scheduled). In "
        "mms_masked clips of one image, or recording, are no negatives. mil_nce is for "
        "--clip_sampling=random.",
        choices=LOSSES,
    )
    margin: float | None = setting(
        None,
        "Margin of the loss; if it is left out 0.001 for mms (AVLnet), mms_masked and, "
        "in its first 1000 steps, mms_scheduled, 1 for triplet, 0.1 for max_margin.",
    )
    temperature: float = setting(
        1.0,
        "What similarities are divided by in infonce and in terms by --nn_queue "
        "(AVLnet: 1; 'Hindi as a Second Language': 0.3).",
        lower=1e-6,
    )
    loss_directions: str = setting(
        "both",
        "Whether infonce is the sum of both directions (AVLnet), or has the first "
        "branch of a pair as the query only ('Hindi as a Second Language', Eq. 2).",
        choices=("both", "one"),
    )
    triplet_imposters: str = setting(
        "random",
        "Imposters of the triplet loss: drawn from the batch (Harwath et al. 2018), "
        "semi-hard, or the sum of both (ResDAVEnet-VQ).",
        choices=("random", "semi-hard", "both"),
    )
    hard_negative_rate: float = setting(
        0.0,
        "Part of max_margin's weight that imposters of the same recording have "
        "(HowTo100M: 0.5 or more); 0 is without weights (AVLnet: unstated).",
        upper=1.0,
    )
    mil_nce_candidates: int | None = setting(
        None,
        "Windows of sound for each clip in mil_nce, itself and the nearest of its "
        "recording that do not overlap; 4 if it is left out (AVLnet: unstated; MIL-"
        "NCE: 4 or 5).",
        lower=1,
        upper=64,
    )
    mil_nce_positives: str | None = setting(
        None,
        "How often a clip's own candidates count among what it is told from in "
        "mil_nce: twice (MIL-NCE's code, and if it is left out), or once (its paper).",
        choices=("twice", "once"),
    )
    bce_negatives: str | None = setting(
        None,
        "Imposters of bce: sampled, one for each match (L3-Net, AVE-Net, and if it is "
        "left out), or all of the batch; they are half of the loss (AVLnet: unstated).",
        choices=("sampled", "all"),
    )
    bce_scale: float | None = setting(
        None,
        "First value of the factor on similarities that bce learns, for each term; "
        "what it adds to them starts at 0. 1 if it is left out (unstated).",
        upper=1e6,
    )
    terms: tuple[str, ...] = setting(
        (),
        "Pairs of branches whose losses are summed, A-B or A-B=WEIGHT, as in "
        "audio:1-visual,audio:2-visual,audio:1-audio:2=0.01; audio:1 is the first "
        "language of --records. Empty: all pairs with the weight 1 ('Hindi as a Second "
        "Language').",
    )
    nn_queue: int = setting(
        0,
        "Captions of earlier steps, in all languages, among which nearest neighbours "
        "are found, so that a language also learns from what belongs to its guide's "
        "nearest caption ('Hindi as a Second Language': 1024; 0 is without).",
        upper=10**7,
    )
    nn_weight: float = setting(
        1.0, "Weight of the terms by --nn_queue ('Hindi as a Second Language': 1)."
    )
    nn_until_full: bool = setting(
        True,
        "Leave those terms out until the queue is full; otherwise until it holds one "
        "step. Unstated in the paper.",
    )
    nn_guides: tuple[str, ...] = setting(
        (),
        "Branches that others learn from by --nn_queue and --distill_weight, as in "
        "audio:1. Empty: all; only those that are not frozen learn.",
    )
    distill_weight: float = setting(
        0.0,
        "Weight of the terms that take a guide's choice among what is seen over into a "
        "language (as C2KD does for text); 0 is without (the other papers).",
    )
    distill_temperature: float = setting(
        1.0, "What similarities are divided by in those terms.", lower=1e-6
    )
    ema_decay: float = setting(
        0.0,
        "The run's model is a running average of the trained weights with this decay, "
        "as in 0.999; 0 is the trained weights themselves (the authors).",
        upper=0.999999,
    )
    sync_batch_norm: bool = setting(
        False,
        "Batch norm over the clips of all devices; otherwise each device's share by "
        "itself (the authors).",
    )
    mixed_precision: str = setting(
        "off",
        "Type of the activations; weights, batch statistics and the loss stay float32 "
        "(the authors: float16 for HowTo100M). Slower than off on most CPUs.",
        choices=("off", "float16", "bfloat16"),
    )
    jit_compile: bool = setting(
        False,
        "Compile the model with XLA: some seconds at the start, then faster steps; "
        "docs/performance.md has figures.",
    )
    checkpoint_every: int = setting(
        0,
        "Steps from checkpoint to checkpoint, besides one at each evaluation: what a "
        "killed run has to do again. 0 is at evaluations only.",
    )
    keep_checkpoints: int = setting(2, "Checkpoints kept, the newest.", lower=1)
    best_metric: str = setting(
        "",
        "SET/METRIC, as in val/MRR for both directions together, or val/a2v/R@10: "
        "the weights of the best evaluation are kept, and stand for the run. Choose on "
        "validation, never on test records. Empty: the last weights (the authors).",
    )
    patience: int = setting(
        0,
        "Evaluations without a better --best_metric after which the stage ends; 0 is "
        "never.",
    )
    evaluate_every: int = setting(1, "Epochs from evaluation to evaluation.", lower=1)
    image_weights: str = setting(
        "",
        "First weights of the --image_encoder: the .pth of it, such as torchvision's "
        "of a ResNet (the papers: resnet152), or imagenet for efficientnet_lite0. A "
        "parent's image encoder goes before; empty: random ones.",
    )
    freeze_image_encoder: bool = setting(
        False,
        "The --image_encoder stays as its first weights are, and only what is behind "
        "it in the visual branch learns (the papers: it learns).",
    )
    init_branches: tuple[str, ...] = setting(
        (),
        "Branches that do not start at random: audio:es or visual is as in "
        "--init_from, audio:es=RUN as in another run, audio:es=RUN@audio:en as its "
        "branch of another name. audio:1 is the first language of --records. Empty: "
        "all are as in --init_from, if it is given.",
    )
    freeze: tuple[str, ...] = setting(
        (),
        "Branches that do not learn, as in audio:es,visual: their weights and batch "
        "statistics stay as they are, and they embed as in evaluation.",
    )
    seed: int = setting(0, "Seed of weights and data order.", upper=SEEDS)

    def with_loss_settings(self) -> "StageConfig":
        """The settings with those that only its loss has, where none are given."""
        of_loss: dict[str, Any] = {"margin": MARGINS.get(self.loss)}
        of_loss |= {k: v for k, (loss, v) in OF_ONE_LOSS.items() if loss == self.loss}
        left_out = {k: v for k, v in of_loss.items() if getattr(self, k) is None}
        return dataclasses.replace(self, **left_out)

    def check_batch(self, n_devices: int = 1) -> None:
        """Raises UserError if batches cannot be dealt to devices and micro-batches."""
        if self.sync_batch_norm and (self.jit_compile or self.micro_batch):
            raise UserError(
                "--sync_batch_norm needs all clips at once and devices that talk to "
                "each other inside the model: leave out --jit_compile and "
                "--micro_batch."
            )
        share, left_over = divmod(self.batch_size, n_devices)
        if left_over:
            raise UserError(
                f"--batch_size={self.batch_size} cannot be dealt evenly to {n_devices} "
                "devices."
            )
        if self.micro_batch and share % self.micro_batch:
            raise UserError(
                f"--micro_batch={self.micro_batch} does not divide the {share} clips "
                f"of a device (--batch_size={self.batch_size} over {n_devices})."
            )

    @property
    def needs_groups(self) -> bool:
        """Whether the loss asks which clips are of one recording, or image."""
        return self.loss == "mms_masked" or bool(self.hard_negative_rate)

    @property
    def n_candidates(self) -> int:
        """Windows of sound for each clip of a batch; 0 if it has its own alone."""
        if self.loss != "mil_nce":
            return 0
        return self.with_loss_settings().mil_nce_candidates or 0
