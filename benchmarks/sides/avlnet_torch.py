"""The same model in PyTorch, as the authors run it; settings as avlnet_tensorflow's.

Settings: work (training or embedding), clips, model; weights: the .pth to start from;
found: the .npz for the embeddings.
"""

import time

import torch

from benchmarks.inputs import random_clips
from benchmarks.side import Work, save_once, serve
from benchmarks.sides.torch_model import Avlnet, masked_margin_softmax


def prepare(settings: dict) -> Work:
    config = settings["model"]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    made = random_clips(**settings["clips"])
    batch = {k: torch.from_numpy(v).to(device) for k, v in made.items()}
    model = Avlnet(
        batch["log_mel"].shape[2],
        config["audio_widths"],
        sum(config["visual_dims"]),
        config["embedding_dim"],
    )
    started = time.perf_counter()
    model.load_state_dict(torch.load(settings["weights"], weights_only=True))
    weights_s = time.perf_counter() - started
    model.to(device)
    if settings["work"] == "training":
        work = _training(model, batch)
    else:
        work = _embedding(model, batch, settings["found"])
    return lambda: work() | {"weights_s": weights_s}


def _training(model: Avlnet, batch: dict) -> Work:
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()

    def work():
        optimizer.zero_grad()
        loss = masked_margin_softmax(*model(**batch))
        loss.backward()
        optimizer.step()
        return {"loss": loss.item(), "n_clips": len(batch["log_mel"])}

    return work


def _embedding(model: Avlnet, batch: dict, found: str) -> Work:
    model.eval()

    def work():
        with torch.inference_mode():
            audio, visual = (value.cpu().numpy() for value in model(**batch))
        save_once(found, audio_embedding=audio, visual_embedding=visual)
        return {"n_clips": len(audio)}

    return work


if __name__ == "__main__":
    serve(prepare)
