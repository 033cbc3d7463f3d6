"""The same work in PyTorch and in Hugging Face's transformers, where they are installed.

They are no dependencies of this project, so they are imported by name, and only when they take part.
"""

import contextlib
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fnet_jax.core.config import ModelConfig, OptimConfig
from fnet_jax.tools.bench.timing import TimedProgram

MODELS = {"HF FNet": "FNet", "HF BERT": "Bert"}  # name of the case -> beginning of the classes' names


def fftn(x_BLD: np.ndarray, g_BLD: np.ndarray, dtype: str, backward: bool, platform: str) -> TimedProgram:
    """`torch.fft.fftn(x, dim=(1, 2)).real`, and its gradient with the cotangent g.

    Args:
        x_BLD: input, float32.
        g_BLD: cotangent, float32.
        dtype: that both are given in; the transform itself runs in float32.
        backward: whether the gradient is wanted.
        platform: gpu or cuda for CUDA, all else for the CPU.
    """
    torch = _torch()
    device = _device(platform)
    before = _allocated(device)
    x, g = (torch.from_numpy(a).to(device, getattr(torch, dtype)) for a in (x_BLD, g_BLD))

    def once() -> None:
        x.grad = None
        y = torch.fft.fftn(x.float(), dim=(1, 2)).real.to(x.dtype)
        if backward:
            y.backward(g)

    x.requires_grad_(backward)
    return _program(once, device, before)


def train_step(
    name: str,
    model: ModelConfig,
    optim: OptimConfig,
    batch: Mapping[str, np.ndarray],
    platform: str,
) -> TimedProgram:
    """A pretraining step with AdamW: masked LM and next sentence, random parameters.

    Unlike this project's model theirs computes logits for every position, not only for those to predict.

    Args:
        name: one of `MODELS`.
        model: the shape, dropout and dtype to take; bfloat16 means autocast, with parameters in float32.
        optim: learning rate, betas, epsilon, weight decay.
        batch: fields of `core.batch.pretrain_spec`.
        platform: as in `fftn`.
    """
    torch = _torch()
    device = _device(platform)
    before = _allocated(device)
    net = _model(name, model, "ForPreTraining").to(device).train()
    labels = np.full_like(batch["input_ids"], -100)  # which the loss leaves out
    np.put_along_axis(labels, batch["masked_lm_positions"], batch["masked_lm_ids"], axis=1)
    inputs = _tensors(
        {
            "input_ids": batch["input_ids"],
            "token_type_ids": batch["type_ids"],
            "labels": labels,
            "next_sentence_label": batch["next_sentence_labels"],
        },
        device,
    )
    optimizer = torch.optim.AdamW(
        net.parameters(),
        lr=optim.learning_rate,
        betas=(optim.adam_b1, optim.adam_b2),
        eps=optim.adam_eps,
        weight_decay=optim.weight_decay,
        fused=device == "cuda",
    )

    def once() -> None:
        optimizer.zero_grad()
        with _autocast(model, device):
            loss = net(**inputs).loss
        loss.backward()
        optimizer.step()

    return _program(once, device, before)


def inference(name: str, model: ModelConfig, batch: Mapping[str, np.ndarray], platform: str) -> TimedProgram:
    """The logits of two classes for a batch of texts; arguments as in `train_step`."""
    torch = _torch()
    device = _device(platform)
    before = _allocated(device)
    net = _model(name, model, "ForSequenceClassification").to(device).eval()
    inputs = _tensors({"input_ids": batch["input_ids"], "token_type_ids": batch["type_ids"]}, device)

    def once() -> None:
        with torch.inference_mode(), _autocast(model, device):
            net(**inputs)

    return _program(once, device, before)


def _torch() -> Any:
    torch = importlib.import_module("torch")
    torch.set_float32_matmul_precision("high")  # TF32 on GPUs, as in JAX by default
    return torch


def _device(platform: str) -> str:
    return "cuda" if platform in ("gpu", "cuda", "rocm") else "cpu"


def _autocast(model: ModelConfig, device: str) -> Any:
    if model.dtype == "float32":
        return contextlib.nullcontext()
    return _torch().autocast(device, dtype=_torch().bfloat16)


def _tensors(arrays: Mapping[str, np.ndarray], device: str) -> dict[str, Any]:
    torch = _torch()
    return {name: torch.from_numpy(array.astype(np.int64)).to(device) for name, array in arrays.items()}


def _model(name: str, model: ModelConfig, head: str) -> Any:
    transformers = importlib.import_module("transformers")
    kind = MODELS[name]
    values = {
        "vocab_size": model.vocab_size,
        "hidden_size": model.d_model,
        "num_hidden_layers": model.num_layers,
        "intermediate_size": model.d_ff,
        "hidden_act": "gelu_new",
        "hidden_dropout_prob": model.dropout_rate,
        "max_position_embeddings": model.max_seq_length,
        "type_vocab_size": model.type_vocab_size,
        "layer_norm_eps": 1e-12,
    }
    if kind == "Bert":
        values |= {
            "num_attention_heads": model.num_heads,
            "attention_probs_dropout_prob": model.mixing_dropout_rate,
        }
    config = getattr(transformers, kind + "Config")(**values)
    return getattr(transformers, kind + head)(config)


def _allocated(device: str) -> int:
    return _torch().cuda.memory_allocated() if device == "cuda" else 0


def _program(once: Callable[[], None], device: str, allocated: int) -> TimedProgram:
    """On CUDA a run returns when the device is done; the memory is the peak of the first run.

    Args:
        once: starts the work.
        device: cuda or cpu.
        allocated: bytes before anything of this program was there.
    """
    torch = _torch()

    def run(calls: int) -> None:
        for _ in range(calls):
            once()
        if device == "cuda":
            torch.cuda.synchronize()

    if device == "cpu":
        return TimedProgram(run)
    torch.cuda.reset_peak_memory_stats()
    run(1)
    return TimedProgram(run, memory=torch.cuda.max_memory_allocated() - allocated)
