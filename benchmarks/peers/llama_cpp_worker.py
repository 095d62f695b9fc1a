"""llama.cpp as a contestant of benchmarks/chat.py: run with the Python of an environment of its own.

    python -m venv peer && peer/bin/pip install llama-cpp-python==0.3.36 gguf==0.19.0
    python -m benchmarks.chat --llama-cpp-python peer/bin/python

Writes the model's own weights as GGUF (architecture Llama; embeddings and matrices in the wanted format, the
rest in float32), then answers JSON lines with JSON lines. Token ids go in and out, so no tokenizer differs.
"""

import json
import sys
import time
from pathlib import Path

import gguf
import llama_cpp
import numpy as np

_TYPES = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}
_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_OUTSIDE = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def read_tensors(path: Path):
    """Name and float32 values of every tensor in a safetensors file."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            start, stop = (8 + length + at for at in entry["data_offsets"])
            values = np.frombuffer(data[start:stop], _TYPES[entry["dtype"]])
            if entry["dtype"] == "BF16":
                values = (values.astype(np.uint32) << 16).view(np.float32)
            yield name, values.astype(np.float32).reshape(entry["shape"])


def write_gguf(folder: Path, out: Path, form: str) -> None:
    """The model in `folder` as one GGUF file.

    Why the halves of q and k are interleaved: GGUF's Llama turns neighbouring numbers, safetensors' halves.
    """
    config = json.loads((folder / "config.json").read_text())
    heads, shared = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(shared)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("no_vocab")
    wanted = gguf.GGMLQuantizationType[form]
    for path in sorted(folder.glob("*.safetensors")):
        for name, values in read_tensors(path):
            if name.endswith(("q_proj.weight", "k_proj.weight")):
                count = heads if "q_proj" in name else shared
                parts = values.reshape(count, 2, values.shape[0] // count // 2, values.shape[1])
                values = parts.swapaxes(1, 2).reshape(values.shape)
            kind = wanted if values.ndim == 2 else gguf.GGMLQuantizationType.F32
            writer.add_tensor(rename(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rename(name: str) -> str:
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    _, _, block, rest = name.split(".", 3)
    return f"blk.{block}.{_NAMES[rest.removesuffix('.weight')]}.weight"


def say(message: dict) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main() -> None:
    folder, out, form, threads = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    now = getattr(time, sys.argv[5])
    write_gguf(folder, out, form)
    model = llama_cpp.Llama(
        str(out), n_ctx=2048, n_threads=threads, n_threads_batch=threads, verbose=False, seed=0
    )
    say({"version": llama_cpp.__version__})
    for line in sys.stdin:
        request = json.loads(line)
        if request["fresh"]:
            model.reset()
            model._ctx.kv_cache_clear()
        began = now()
        tokens, first = [], None
        for token in model.generate(request["ids"], top_k=1, temp=0.0):
            first = first or now()
            tokens.append(int(token))
            if len(tokens) == request["count"]:
                break
        ended = now()
        say({"tokens": tokens, "first_s": first - began, "rest_s": ended - first})


if __name__ == "__main__":
    main()
