"""A square matrix product in PyTorch. Settings: size."""

import torch

from benchmarks.side import Work, serve


def prepare(settings: dict) -> Work:
    size = settings["size"]
    one, two = torch.randn(size, size), torch.randn(size, size)

    def work():
        torch.mm(one, two)
        return {"flop": 2 * size**3}

    return work


if __name__ == "__main__":
    serve(prepare)
