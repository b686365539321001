"""A LoRA adapter of random weights, as PEFT stores one: for measuring speed, which its values do not change.

Plans for another machine carry this file as it is, so it needs nothing but numpy.
"""

import json
import struct
import sys
from pathlib import Path

import numpy as np


def write_adapter(
    folder: Path, rank: int, layers: int, hidden: int, query: int, kv: int, intermediate: int
) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, on all linear layers.

    B is zero, as in a fresh adapter: answers stay the base model's, and the kernels do the same work.
    """
    widths = {
        "self_attn.q_proj": (hidden, query),
        "self_attn.k_proj": (hidden, kv),
        "self_attn.v_proj": (hidden, kv),
        "self_attn.o_proj": (query, hidden),
        "mlp.gate_proj": (hidden, intermediate),
        "mlp.up_proj": (hidden, intermediate),
        "mlp.down_proj": (intermediate, hidden),
    }
    random = np.random.default_rng(0)
    tensors = {}
    for layer in range(layers):
        for module, (inner, outer) in widths.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            down = random.standard_normal((rank, inner), dtype=np.float32) / 100
            tensors[f"{name}.lora_A.weight"] = down.astype(np.float16)
            tensors[f"{name}.lora_B.weight"] = np.zeros((outer, rank), np.float16)
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "",
        "bias": "none",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": [module.split(".")[1] for module in widths],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    write_safetensors(folder / "adapter_model.safetensors", tensors)


def write_safetensors(path: Path, tensors: dict[str, np.ndarray]) -> None:
    """The safetensors format: the header's length, the header, and the half-precision values in its order."""
    header, end = {}, 0
    for name, values in tensors.items():
        start, end = end, end + values.nbytes
        header[name] = {"dtype": "F16", "shape": values.shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for values in tensors.values():
            file.write(values.tobytes())


if __name__ == "__main__":
    write_adapter(Path(sys.argv[1]), *map(int, sys.argv[2:]))
