"""The settings of one training stage: what is learnt from, for how long, and how."""

import dataclasses

from avl_tf.settings import SEEDS, setting


@dataclasses.dataclass(frozen=True)
class StageConfig:
    """How one stage is trained and kept; the defaults are the paper's for HowTo100M.

    Source: Rouditchenko et al. 2021 (AVLnet) section 3.1; authors' training.md.
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
    margin: float = setting(0.001, "MMS margin (the paper: 0.001).")
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
