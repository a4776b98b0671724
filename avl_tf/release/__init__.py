"""The authors' AVLnet checkpoints and our model, name by name, in both directions."""

import dataclasses
import re
from collections.abc import Mapping

import keras
import numpy as np

from avl_tf.errors import UserError
from avl_tf.model import ModelConfig

State = Mapping[str, np.ndarray]

_NORM = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
_HEADS = {
    "official": {
        "GU_audio.fc": "audio_gate_fc",
        "GU_audio.cg.fc": "audio_gate_gate",
        "DAVEnet_projection": "audio_projection",
    },
    "fused": {
        "DAVEnet_projection": "audio_projection",
        "GU_audio_text.fc_audio": "audio_gate_fc",
        "GU_audio_text.cg.fc": "audio_gate_gate",
    },
}
_VISUAL = {"GU_video.fc": "visual_gate_fc", "GU_video.cg.fc": "visual_gate_gate"}
# What no forward pass of theirs reads: a batch norm over the spectrogram, the counters
# of all batch norms, and (of the fused variant) a gate.
_UNUSED = re.compile(r"DAVEnet\.batchnorm1\..*|.*\.num_batches_tracked")
_TEXT = re.compile(r"(text_pooling_caption|GU_text_captions|GU_audio_text)\..*")


@dataclasses.dataclass(frozen=True)
class Parity:
    """What became of a checkpoint's tensors.

    placed: (their key, our layer and variable, its shape here). missing: keys that the
    model needs and the file has not. unexpected: keys that have no place. unused: keys
    that the authors' own forward pass never reads. text: the text branch's.
    """

    placed: tuple[tuple[str, str, tuple[int, ...]], ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    unused: tuple[str, ...]
    text: tuple[str, ...]


def key_map(config: ModelConfig) -> dict[str, str]:
    """The authors' key -> our "layer/variable", in the order of their state_dict.

    Raises:
        ValueError: one of the model's heads is not one of theirs.
    """
    if config.visual_head != "gated":
        raise UserError(
            f"--visual_head={config.visual_head} has no place in the authors' code, "
            "which has gated."
        )
    if config.audio_head not in _HEADS:
        raise UserError(
            f"--audio_head={config.audio_head} has no place in the authors' code, "
            f"which has {' and '.join(_HEADS)}."
        )
    keys: dict[str, str] = {}

    def convolution(theirs: str, ours: str) -> None:
        keys[f"{theirs}.weight"] = f"{ours}/kernel"

    def norm(theirs: str, ours: str) -> None:
        keys.update({f"{theirs}.{p}": f"{ours}/{v}" for p, v in _NORM.items()})

    convolution("DAVEnet.conv1", "conv1")
    norm("DAVEnet.bn1", "bn1")
    for stage in range(1, len(config.audio_widths)):
        for block in range(config.blocks_per_stage):
            theirs, ours = f"DAVEnet.layer{stage}.{block}", f"layer{stage}_{block}"
            for n in (1, 2):
                convolution(f"{theirs}.conv{n}", f"{ours}_conv{n}")
                norm(f"{theirs}.bn{n}", f"{ours}_bn{n}")
            if block == 0:
                convolution(f"{theirs}.downsample.0", f"{ours}_downsample_conv")
                norm(f"{theirs}.downsample.1", f"{ours}_downsample_bn")
    for theirs, ours in {**_HEADS[config.audio_head], **_VISUAL}.items():
        keys[f"{theirs}.weight"] = f"{ours}/kernel"
        keys[f"{theirs}.bias"] = f"{ours}/bias"
    return keys


def config_of(
    state: State, source: str, visual_dims: tuple[int, ...] | None = None
) -> ModelConfig:
    """Reads the model's widths off the authors' tensors.

    Args:
        state: the state_dict.
        source: the file's name, for messages.
        visual_dims: widths of the visual streams. None takes streams of 2048, 2D then
            3D; a visual branch of another width is taken for one stream.

    Raises:
        ValueError: the tensors are those of another architecture.
    """
    needed = ("DAVEnet.conv1.weight", "DAVEnet_projection.weight", "GU_video.fc.weight")
    for key in needed:
        if key not in state or state[key].ndim < 2:
            raise UserError(
                f"{source}: not an AVLnet checkpoint: no {key} in it. Its first keys "
                f"are {', '.join(list(state)[:3]) or 'none'}."
            )
    widths, n_blocks = [len(state["DAVEnet.conv1.weight"])], 0
    while (key := f"DAVEnet.layer{len(widths)}.0.conv1.weight") in state:
        widths.append(len(state[key]))
    while f"DAVEnet.layer1.{n_blocks}.conv1.weight" in state:
        n_blocks += 1
    if len(widths) < 2:
        raise UserError(f"{source}: no DAVEnet.layer1 in it: another architecture.")
    embedding_dim, visual_width = state["GU_video.fc.weight"].shape
    if visual_dims is None:
        whole = visual_width in (2048, 4096)
        visual_dims = (2048,) * (visual_width // 2048) if whole else (visual_width,)
    elif sum(visual_dims) != visual_width:
        raise UserError(
            f"{source}: the visual branch takes {visual_width} features, --visual_dims "
            f"add up to {sum(visual_dims)}."
        )
    return ModelConfig(
        visual_dims=visual_dims,
        audio_widths=tuple(widths),
        blocks_per_stage=n_blocks,
        embedding_dim=embedding_dim,
        audio_head="fused" if "GU_audio_text.fc_audio.weight" in state else "official",
    )


def load_state(
    model: keras.Model, config: ModelConfig, state: dict[str, np.ndarray]
) -> Parity:
    """Sets the model's weights from the authors' state_dict, as far as they match.

    The state is emptied on the way: the full-size one and the model are 338 MB each.

    Raises:
        ValueError: a tensor has another shape than its place, or is not finite.
    """
    if config.audio_head == "fused":
        state.update(_without_words(state))
    variables = _variables(model)
    keys = key_map(config)
    missing = tuple(key for key in keys if key not in state)
    placed, unexpected, unused, text = [], [], [], []
    for key in list(state):
        array = state.pop(key)
        if key in keys:
            variable, value = variables[keys[key]], to_ours(key, array)
            if value.shape != tuple(variable.shape):
                raise UserError(
                    f"{key} has shape {list(array.shape)}, which is no {keys[key]} of "
                    f"shape {list(variable.shape)}: another architecture."
                )
            if not np.isfinite(value).all():
                raise UserError(f"{key} holds a NaN or an infinity.")
            variable.assign(value)
            placed.append((key, keys[key], value.shape))
        elif _UNUSED.fullmatch(key) or key in _unused_gate(config):
            unused.append(key)
        elif _TEXT.fullmatch(key):
            text.append(key)
        else:
            unexpected.append(key)
    return Parity(tuple(placed), missing, tuple(unexpected), tuple(unused), tuple(text))


def to_state(model: keras.Model, config: ModelConfig) -> dict[str, np.ndarray]:
    """A state_dict of the model that the authors' code loads.

    What their state has and their forward pass never reads stands at its initial value.

    Raises:
        ValueError: the model's audio head is not the authors' own, or it has an image
            encoder.
    """
    if config.audio_head != "official":
        raise UserError(
            f"--audio_head={config.audio_head} cannot go back: only a model with the "
            "official head has the authors' state_dict."
        )
    others = {
        f"--image_encoder={config.image_encoder}": config.image_encoder,
        f"a model of {', '.join(config.languages)}": config.languages,
        "--audio_attention": config.audio_attention,
        f"--audio_encoder={config.audio_encoder}": config.audio_encoder != "resdavenet",
        "--normalize_embeddings": config.normalize_embeddings,
    }
    for name, there in others.items():
        if there:
            raise UserError(
                f"{name} cannot go back: the authors' state_dict has no place for it."
            )
    variables = _variables(model)
    unused = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
    state = {
        f"DAVEnet.batchnorm1.{part}": np.full(1, value, np.float32)
        for part, value in unused.items()
    }
    state["DAVEnet.batchnorm1.num_batches_tracked"] = np.zeros((), np.int64)
    for key, name in key_map(config).items():
        state[key] = to_theirs(key, np.asarray(variables[name]))
        if key.endswith(".running_var"):
            counter = key.replace("running_var", "num_batches_tracked")
            state[counter] = np.zeros((), np.int64)
    return state


def to_ours(key: str, array: np.ndarray) -> np.ndarray:
    """Brings a tensor of the authors' into our layout: kernels end in [in, out]."""
    if array.ndim == 4:
        return array.transpose(_CONV1 if key == "DAVEnet.conv1.weight" else _CONV)
    return array.T if array.ndim == 2 else array


def to_theirs(key: str, array: np.ndarray) -> np.ndarray:
    """The way back of to_ours."""
    if array.ndim == 4:
        order = _CONV1 if key == "DAVEnet.conv1.weight" else _CONV
        return np.ascontiguousarray(array.transpose(np.argsort(order)))
    return np.ascontiguousarray(array.T) if array.ndim == 2 else array


# conv1 is [out, 1, F, 1] there and a 1 x 1 kernel over F channels here.
_CONV1, _CONV = (1, 3, 2, 0), (2, 3, 1, 0)


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    return {f"{la.name}/{v.name}": v for la in model.layers for v in la.variables}


def _unused_gate(config: ModelConfig) -> tuple[str, ...]:
    if config.audio_head != "fused":
        return ()
    parts = ("fc.weight", "fc.bias", "cg.fc.weight", "cg.fc.bias")
    return tuple(f"GU_audio.{part}" for part in parts)


def _without_words(state: State) -> State:
    """What changes in the fused variant for a clip without words.

    Its word vectors are all zero, so that its text is one constant vector, which goes
    into the bias of the audio's side.
    """
    needed = (
        "text_pooling_caption.fc.bias",
        "GU_audio_text.fc_text.weight",
        "GU_audio_text.fc_text.bias",
        "GU_audio_text.fc_audio.bias",
    )
    if any(key not in state for key in needed):
        return {}
    pooled, weight, bias, audio_bias = (state[key] for key in needed)
    text = weight @ np.maximum(pooled, 0) + bias
    return {"GU_audio_text.fc_audio.bias": audio_bias + text}
