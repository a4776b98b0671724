"""A square matrix product in PyTorch. Settings: size."""

import torch

from benchmarks.side import Work, serve


def prepare(settings: dict) -> Work:
    size = settings["size"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    one, two = (torch.randn(size, size, device=device) for _ in range(2))

    def work():
        torch.mm(one, two)[0, 0].item()  # it is there when all is done
        return {"flop": 2 * size**3}

    return work


if __name__ == "__main__":
    serve(prepare)
