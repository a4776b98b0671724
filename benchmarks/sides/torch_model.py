"""AVLnet in PyTorch with the layers, the layout and the names of the authors' code.

Source: Rouditchenko et al. 2021 (AVLnet) section 2; authors' model.py and
    model_davenet.py (float32, no apex).
"""

from collections.abc import Sequence

import torch
from torch import nn


def _convolution(n_in: int, n_out: int, width: int, stride: int) -> nn.Conv2d:
    margin = (0, width // 2)
    return nn.Conv2d(n_in, n_out, (1, width), (1, stride), margin, bias=False)


class BasicBlock(nn.Module):
    """Two 1 x 9 convolutions over [B, C, 1, T] and a shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int):
        super().__init__()
        self.conv1 = _convolution(n_in, n_out, 9, stride)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _convolution(n_out, n_out, 9, 1)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.downsample = None
        if stride != 1 or n_in != n_out:
            self.downsample = nn.Sequential(
                _convolution(n_in, n_out, 1, stride), nn.BatchNorm2d(n_out)
            )

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x if self.downsample is None else self.downsample(x)
        return self.relu(y)


class ResDavenet(nn.Module):
    """[B, 1, F, T] -> [B, C, T']."""

    def __init__(self, n_mels: int, widths: Sequence[int]):
        super().__init__()
        self.batchnorm1 = nn.BatchNorm2d(1)  # in their state_dict, and never called
        self.conv1 = nn.Conv2d(1, widths[0], (n_mels, 1), bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        self.n_stages = len(widths) - 1
        for stage in range(1, len(widths)):
            blocks = nn.Sequential(
                BasicBlock(widths[stage - 1], widths[stage], 2),
                BasicBlock(widths[stage], widths[stage], 1),
            )
            setattr(self, f"layer{stage}", blocks)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in range(1, self.n_stages + 1):
            x = getattr(self, f"layer{stage}")(x)
        return x.squeeze(2)


class ContextGate(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.fc = nn.Linear(width, width)

    def forward(self, x):
        return nn.functional.glu(torch.cat((x, self.fc(x)), 1), 1)


class GatedUnit(nn.Module):
    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        self.fc = nn.Linear(n_in, n_out)
        self.cg = ContextGate(n_out)

    def forward(self, x):
        return self.cg(self.fc(x))


class Avlnet(nn.Module):
    """log_mel [B, T, F], n_frames [B], visual [B, Dv] -> two embeddings [B, D]."""

    def __init__(
        self, n_mels: int, widths: Sequence[int], visual_dim: int, embedding_dim: int
    ):
        super().__init__()
        self.DAVEnet = ResDavenet(n_mels, widths)
        self.DAVEnet_projection = nn.Linear(widths[-1], embedding_dim)
        self.GU_audio = GatedUnit(widths[-1], widths[-1])
        self.GU_video = GatedUnit(visual_dim, embedding_dim)

    def forward(self, log_mel, n_frames, visual):
        audio = self.DAVEnet(log_mel.transpose(1, 2).unsqueeze(1))
        if self.training:
            audio = audio.mean(dim=2)
        else:
            ratio = round(log_mel.shape[1] / audio.shape[2])
            n_steps = torch.clamp(n_frames // ratio, 1, audio.shape[2])
            steps = torch.arange(audio.shape[2])
            inside = (steps < n_steps[:, None])[:, None]
            audio = (audio * inside).sum(dim=2) / n_steps[:, None]
        audio = self.DAVEnet_projection(self.GU_audio(audio))
        return audio, self.GU_video(visual)


def masked_margin_softmax(audio, visual, margin: float = 0.001):
    """The MMS loss, in both directions (authors' loss.py)."""
    similarity = audio @ visual.t() - margin * torch.eye(len(audio))
    match = torch.arange(len(audio))
    cross_entropy = nn.functional.cross_entropy
    return cross_entropy(similarity, match) + cross_entropy(similarity.t(), match)
