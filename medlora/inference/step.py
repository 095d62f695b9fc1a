"""One token further, for one answer or several side by side, without a general forward pass.

Why: at one token a call, most of the time of a general forward pass is spent between the matrices. A piece
of a prompt goes the same way on a processor: there its time is the matrices', which a step has packed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from medlora.inference.low_rank import Voice
from medlora.inference.projection import Projection
from medlora.inference.row import Row

_PROOF = (3, 11, 7, 5, 13, 2)
_CUT = 4
# Where the same formula is computed in another order; half precision has three decimals.
_TOLERANCE = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 6e-2}


@dataclass(frozen=True)
class _Layer:
    """A layer's parts; the numbers of its projections are 4 × its place + 0 … 3."""

    before: Any
    attend: Projection
    out: Projection
    between: Any
    widen: Projection
    narrow: Projection
    query_norm: Any
    key_norm: Any
    activation: Any
    heads: int
    shared: int
    width: int
    scale: float


class Step:
    """A model's decoding step. Made by `find_step`, which proves it first.

    reads: whether prompts are read by it too; on a GPU the library's own attention is faster.
    """

    def __init__(self, model: Any) -> None:
        core = model.model
        self._embed, self._rotary, self._norm = core.embed_tokens, core.rotary_emb, core.norm
        self._layers = [_read_layer(layer) for layer in core.layers]
        self.head = Projection([model.lm_head])
        self.dtype: torch.dtype = core.embed_tokens.weight.dtype
        self.device: torch.device = core.embed_tokens.weight.device
        self._zero = torch.zeros((), dtype=self.dtype, device=self.device)
        self.reads = self.device.type == "cpu"
        self.tolerance = _TOLERANCE.get(self.dtype, 0.0)

    @property
    def projections(self) -> list[Projection]:
        """Every projection of the layers, by its number."""
        return [
            each for layer in self._layers for each in (layer.attend, layer.out, layer.widen, layer.narrow)
        ]

    @torch.inference_mode()
    def advance(self, tokens: Sequence[int], rows: Sequence[Row], voices: Sequence[Voice]) -> torch.Tensor:
        """The logits after one more token in each row, which keeps its states.

        Shapes: result (rows, vocabulary).
        """
        hidden = self._embed(torch.tensor(tokens, device=self.device))
        cosine, sine = self._turn(hidden, rows)
        for place, layer in enumerate(self._layers):
            normed = _normalize_each(layer.before, hidden)
            mixed = _project(4 * place, layer.attend, normed, voices)
            looked = self._attend(place, layer, mixed, (cosine, sine), rows)
            hidden = hidden + _project(4 * place + 1, layer.out, looked, voices)
            normed = _normalize_each(layer.between, hidden)
            gate, up = _project(4 * place + 2, layer.widen, normed, voices).chunk(2, -1)
            hidden = hidden + _project(4 * place + 3, layer.narrow, layer.activation(gate) * up, voices)
        for row in rows:
            row.length += 1
        return self.head(_normalize_each(self._norm, hidden))

    @torch.inference_mode()
    def read(self, tokens: Sequence[int], states: DynamicCache, voice: Voice) -> torch.Tensor:
        """The logits after a piece of a prompt, whose states are added to `states`. Shapes: (vocabulary,)."""
        start = int(states.get_seq_length())
        hidden = self._embed(torch.tensor(tokens, device=self.device))
        places = torch.arange(start, start + len(tokens), device=self.device)
        turn = _sign(*(part[0] for part in self._rotary(hidden[None], places[None])))
        seen = torch.arange(start + len(tokens), device=self.device) <= places[:, None]

        def project(number: int, projection: Projection, inputs: torch.Tensor) -> torch.Tensor:
            outputs = projection.read(inputs)
            voice.add(number, inputs, outputs)
            return outputs

        for place, layer in enumerate(self._layers):
            mixed = project(4 * place, layer.attend, _normalize(layer.before, hidden))
            queries, *newest = (part.transpose(0, 1)[None] for part in _split(layer, mixed, turn))
            keys, values = states.update(*newest, place)
            looked = functional.scaled_dot_product_attention(
                queries, keys, values, attn_mask=seen, scale=layer.scale, enable_gqa=True
            )
            looked = looked[0].transpose(0, 1).flatten(1)
            hidden = hidden + project(4 * place + 1, layer.out, looked)
            gate, up = project(4 * place + 2, layer.widen, _normalize(layer.between, hidden)).chunk(2, -1)
            hidden = hidden + project(4 * place + 3, layer.narrow, layer.activation(gate) * up)
        return self.head(_normalize(self._norm, hidden[-1:]))[0]

    @torch.inference_mode()
    def agrees(self, model: Any, voice: Voice) -> bool:
        """Whether this voice says here what the model says, with what is active in it.

        On a few tokens: each as the next of an answer, and in two pieces as a prompt.
        """
        expected = model(input_ids=torch.tensor([_PROOF], device=self.device), use_cache=False).logits[0]
        row, states = Row(), new_states(model)
        found = [self.advance([token], [row], [voice])[0] for token in _PROOF]
        pieces = (_PROOF[:_CUT], _PROOF[_CUT:]) if self.reads else ()
        found += [self.read(piece, states, voice) for piece in pieces]
        pairs = zip(found, [*expected, expected[_CUT - 1], expected[-1]], strict=False)
        limit = self.tolerance * float(expected.abs().max())
        return all(one.shape == two.shape and float((one - two).abs().max()) <= limit for one, two in pairs)

    def _turn(self, hidden: torch.Tensor, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """The rotation of each row's position."""
        turns = [
            self._rotary(hidden[:1, None], torch.tensor([[row.length]], device=self.device)) for row in rows
        ]
        return _sign(*(torch.cat([turn[part][0] for turn in turns]) for part in (0, 1)))

    def _attend(
        self,
        place: int,
        layer: _Layer,
        mixed: torch.Tensor,
        turn: tuple[torch.Tensor, torch.Tensor],
        rows: Sequence[Row],
    ) -> torch.Tensor:
        asked, newest, values = _split(layer, mixed, turn)
        looked = []
        for number, row in enumerate(rows):
            keys, known = row.put(place, newest[number], values[number])
            queries = asked[number].view(layer.shared, -1, layer.width)
            scores = torch.baddbmm(self._zero, queries, keys.transpose(1, 2), beta=0, alpha=layer.scale)
            shares = torch.softmax(scores, -1, dtype=torch.float32).to(known.dtype)
            looked.append(torch.bmm(shares, known).view(1, -1))
        return looked[0] if len(looked) == 1 else torch.cat(looked)


def find_step(model: Any) -> Step | None:
    """The model's decoding step, if it can be made and says what the model itself says.

    Why a proof rather than a list of architectures: whatever a layer does that a step does not (another
    activation, another scale, a limit on the logits) shows in the logits.
    """
    if any(type(layer) is not DynamicLayer for layer in new_states(model).layers):
        return None
    try:
        step = Step(model)
        return step if step.agrees(model, Voice()) else None
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return None


def new_states(model: Any) -> DynamicCache:
    """Empty attention states; a window that is wider than the model's context is no window."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    context = getattr(config, "max_position_embeddings", None)
    wide = window is not None and context is not None and window >= context
    return (
        DynamicCache() if wide and not hasattr(config, "layer_types") else DynamicCache(config=model.config)
    )


def _read_layer(layer: Any) -> _Layer:
    """Raises: AttributeError for a layer made of other parts."""
    attention, mlp = layer.self_attn, layer.mlp
    config = attention.config
    fused = hasattr(attention, "qkv_proj")
    names = ("qkv_proj",) if fused else ("q_proj", "k_proj", "v_proj")
    wide = ("gate_up_proj",) if hasattr(mlp, "gate_up_proj") else ("gate_proj", "up_proj")
    return _Layer(
        before=layer.input_layernorm,
        attend=Projection([getattr(attention, name) for name in names]),
        out=Projection([attention.o_proj]),
        between=layer.post_attention_layernorm,
        widen=Projection([getattr(mlp, name) for name in wide]),
        narrow=Projection([mlp.down_proj]),
        query_norm=getattr(attention, "q_norm", None),
        key_norm=getattr(attention, "k_norm", None),
        activation=mlp.activation_fn if hasattr(mlp, "activation_fn") else mlp.act_fn,
        heads=int(config.num_attention_heads),
        shared=int(config.num_key_value_heads),
        width=int(attention.head_dim),
        scale=float(attention.scaling),
    )


def _normalize(norm: Any, hidden: torch.Tensor) -> torch.Tensor:
    if hidden.dtype is torch.float32 and hasattr(norm, "variance_epsilon"):
        return functional.rms_norm(hidden, norm.weight.shape, norm.weight, norm.variance_epsilon)
    result: torch.Tensor = norm(hidden)
    return result


def _normalize_each(norm: Any, hidden: torch.Tensor) -> torch.Tensor:
    """The same for the newest tokens of a few answers, in fewer calls, which cost more than their arithmetic.

    Why row by row: each answer then has the very bits it has when it is given alone.
    """
    if (
        hidden.dtype is not torch.float32
        or hidden.device.type != "cpu"
        or not hasattr(norm, "variance_epsilon")
    ):
        return _normalize(norm, hidden)
    lengths = [float(torch.linalg.vector_norm(row)) for row in hidden]
    scales = [(length**2 / hidden.shape[-1] + norm.variance_epsilon) ** -0.5 for length in lengths]
    weighted = hidden * norm.weight
    return weighted.mul_(scales[0] if len(scales) == 1 else weighted.new_tensor(scales)[:, None])


def _project(
    number: int, projection: Projection, inputs: torch.Tensor, voices: Sequence[Voice]
) -> torch.Tensor:
    outputs = projection(inputs)
    for row, voice in enumerate(voices):
        if voice.speaks(number):
            voice.add(number, inputs[row : row + 1], outputs[row : row + 1])
    return outputs


def _split(
    layer: _Layer, mixed: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, keys and values, turned to their positions. Shapes: each (tokens, heads, width)."""
    both = layer.heads + layer.shared
    mixed = mixed.view(len(mixed), both + layer.shared, layer.width)
    turned, values = mixed[:, :both], mixed[:, both:]
    if layer.query_norm is not None:
        queries, keys = layer.query_norm(turned[:, : layer.heads]), layer.key_norm(turned[:, layer.heads :])
        turned = torch.cat((queries, keys), 1)
    turned = _rotate(turned, *turn)
    return turned[:, : layer.heads], turned[:, layer.heads :], values


def _sign(cosine: torch.Tensor, sine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """For all heads alike; the sine with the sign of the half it belongs to. Shapes: (tokens, width)."""
    half = sine.shape[-1] // 2
    return cosine[:, None], torch.cat((-sine[:, None, :half], sine[:, None, half:]), -1)


def _rotate(states: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary positions, of the first part of each head where a model turns only that."""
    width = cosine.shape[-1]
    turned = states[..., :width]
    turned = torch.addcmul(turned * cosine, turned.roll(width // 2, -1), sine)
    return turned if width == states.shape[-1] else torch.cat((turned, states[..., width:]), -1)
