"""Frozen weights in the order in which this CPU multiplies them fastest, and layers that call it less often.

Only a model that is not trained may do this: a packed weight has no gradient, and knows no other use. The kernels are
oneDNN's, which torch brings; their names in torch are private, so where they are missing the model stays what it was.
Measured on two cores in float32, a step of 64 rows takes half of the time packed, and 6% less once more with layers as
below (17% less with one row, where every call counts).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from transformers import Cache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.pytorch_utils import Conv1D

from softprompt.errors import SettingError
from softprompt.model.large_pages import into_large_pages

ROWS = 16  # for how many rows oneDNN chooses the order; measured, it is the same from 1 to 256


def filled(count: int) -> int:
    """How many rows a product of so many becomes: any to 16, then one of eight from there to twice as many, and so on.

    For each number of rows that it meets oneDNN makes kernels, and keeps them: half a millisecond and 0.7 MB each. From
    256 rows on, where rows more cost more than that, it is one of sixteen.
    """
    step: int = max(1, 2 ** count.bit_length() // (16 if count < 256 else 32))
    return count + -count % step


class PackedLinear(nn.Module):
    """A linear layer, or several that read the same, side by side.

    Args:
        weight: `[N, M]`.
        bias: `[N]`, or None.
    """

    def __init__(self, weight: Float[Tensor, "N M"], bias: Float[Tensor, "N"] | None = None):
        super().__init__()
        with torch.inference_mode():
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
            self.bias = None if bias is None else bias.detach().clone()

    def forward(self, states: Float[Tensor, "*rows M"]) -> Float[Tensor, "*rows N"]:
        """The product, of any number of rows."""
        rows, shape = self.product(_full(states)), states.shape[:-1]
        return rows[: shape.numel()].view(*shape, rows.shape[-1])

    def product(self, rows: Float[Tensor, "n M"]) -> Float[Tensor, "n N"]:
        """The product of rows that were filled up."""
        _check(rows)
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, self.weight, self.bias, "none", [], "")
        return product

    def added(self, rows: Float[Tensor, "n M"], to: Float[Tensor, "n N"]) -> Float[Tensor, "n N"]:
        """Their product, and something else with it, in one call."""
        _check(rows)
        total: Tensor = torch.ops.mkldnn._linear_pointwise.binary(rows, to, self.weight, self.bias, "add")
        return total


class PackedLayer(nn.Module):
    """A layer of Llama and its like: four products instead of seven, and their sums with them.

    It is called as the layer that it stands for, with any of transformers' caches, masks and attention functions.

    Args:
        layer: of a network whose layers are laid out as Llama's.
    """

    def __init__(self, layer: Any):
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.attention = attention  # attention functions ask it about the layer
        self.eps = layer.input_layernorm.variance_epsilon, layer.post_attention_layernorm.variance_epsilon
        heads = [each.out_features // attention.head_dim for each in (attention.q_proj, attention.k_proj)]
        self.heads = (*heads, heads[1])
        self.norms = _norms(attention, heads)
        self.asked = _beside(layer.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj)
        self.answered = PackedLinear(attention.o_proj.weight, attention.o_proj.bias)
        self.up = _beside(layer.post_attention_layernorm, mlp.gate_proj, mlp.up_proj)
        self.down = PackedLinear(mlp.down_proj.weight, mlp.down_proj.bias)
        for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
            delattr(attention, part)

    def forward(
        self,
        hidden_states: Float[Tensor, "B T H"],
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        **rest: Any,
    ) -> Float[Tensor, "B T H"]:
        """The layer's output; `rest` is for the attention function."""
        assert position_embeddings is not None
        B, T, _ = hidden_states.shape
        attention, A = self.attention, self.heads[0]
        rows = _full(hidden_states)
        both = self.asked.product(_normed(rows, self.eps[0]))[: B * T].view(B, T, sum(self.heads), -1)
        turned = _rotated(self._normed_heads(both[:, :, : -self.heads[2]]), *position_embeddings).transpose(1, 2)
        queries, keys, values = turned[:, :A], turned[:, A:], both[:, :, -self.heads[2] :].transpose(1, 2)
        if past_key_values is not None:
            keys, values = past_key_values.update(keys, values, attention.layer_idx)
        attend = ALL_ATTENTION_FUNCTIONS[attention.config._attn_implementation]
        found, _ = attend(attention, queries, keys, values, attention_mask, scaling=attention.scaling, **rest)
        states = self.answered.added(_full(found.flatten(2)), rows)
        gate, up = self.up.product(_normed(states, self.eps[1])).chunk(2, dim=-1)
        return self.down.added(functional.silu(gate).mul_(up), states)[: B * T].view(B, T, -1)

    def _normed_heads(self, heads: Float[Tensor, "B T N D"]) -> Float[Tensor, "B T N D"]:
        """Queries and keys, each head normalised where the family does that (Qwen 3)."""
        if self.norms is None:
            return heads
        weight, eps = self.norms
        return functional.rms_norm(heads, heads.shape[-1:], eps=eps) * weight


def can_pack(network: nn.Module) -> bool:
    """Whether the weights can be packed: plain float32 on a CPU, and a torch that has the kernels."""
    parameter = next(network.parameters())
    kernels = ("_reorder_linear_weight", "_linear_pointwise", "data_ptr", "_nbytes")
    return (
        all(hasattr(torch.ops.mkldnn, each) for each in kernels)
        and torch.backends.mkldnn.is_available()
        and parameter.device.type == "cpu"
        and parameter.dtype == torch.float32
    )


def pack(layers: nn.ModuleList, are_llamas: bool) -> None:
    """Pack a network's layers, in place; the weights as they were go.

    Args:
        layers: them.
        are_llamas: they are laid out as Llama's.
    """
    for index, layer in enumerate(layers):
        if are_llamas:
            layers[index] = PackedLayer(layer)
        else:
            _pack_linears(layer)


def settle(*modules: nn.Module) -> None:
    """Put the packed weights of modules where they are read fastest, once the old ones are gone."""
    packed = (each for module in modules for each in module.modules() if isinstance(each, PackedLinear))
    into_large_pages(each.weight for each in packed)


def _pack_linears(module: nn.Module) -> None:
    """Each linear layer by itself. What is derived from one may do something else, and is left alone."""
    for name, each in list(module.named_modules()):
        if type(each) is nn.Linear:
            module.set_submodule(name, PackedLinear(each.weight, each.bias))
        elif type(each) is Conv1D:
            module.set_submodule(name, PackedLinear(each.weight.T, each.bias))


def _check(states: Tensor) -> None:
    """Refuse what would end without a gradient, and silently."""
    if states.requires_grad and torch.is_grad_enabled():
        raise SettingError("a packed model answers and does not train: load it anew")


def _full(states: Float[Tensor, "*rows K"]) -> Float[Tensor, "n K"]:
    """Rows below one another, filled up with zeros."""
    rows = states.reshape(-1, states.shape[-1])
    count, whole = len(rows), filled(len(rows))
    if whole == count:
        return rows
    full = rows.new_empty(whole, rows.shape[-1])
    full[:count] = rows
    full[count:] = 0
    return full


def _beside(norm: Any, *linears: nn.Linear) -> PackedLinear:
    """Linear layers that read the same, as one; what their normalisation multiplies by is in its weights."""
    bias: list[Tensor] = [each.bias for each in linears if each.bias is not None]
    weight = torch.cat([each.weight.detach() for each in linears]) * norm.weight.detach()
    return PackedLinear(weight, torch.cat(bias) if bias else None)


def _norms(attention: Any, heads: list[int]) -> tuple[Float[Tensor, "N D"], float] | None:
    """What the queries' and the keys' heads are multiplied by after they were normalised, and what is added first."""
    if not hasattr(attention, "q_norm"):
        return None
    each = zip((attention.q_norm, attention.k_norm), heads, strict=True)
    weights: list[Tensor] = [norm.weight.expand(count, -1) for norm, count in each]
    return torch.cat(weights), attention.q_norm.variance_epsilon


def _normed(states: Float[Tensor, "n H"], eps: float) -> Float[Tensor, "n H"]:
    """Normalised by their root mean square (Zhang and Sennrich 2019, arXiv 1910.07467), and not multiplied yet.

    torch's own takes five passes over them on a CPU.
    """
    length: Tensor = torch.linalg.vector_norm(states, dim=-1, keepdim=True)
    return states * length.square_().mul_(1 / states.shape[-1]).add_(eps).rsqrt_()


def _rotated(
    heads: Float[Tensor, "B T N D"], cos: Float[Tensor, "b T D"], sin: Float[Tensor, "b T D"]
) -> Float[Tensor, "B T N D"]:
    """Rotary embeddings (Su et al. 2021, arXiv 2104.09864), of queries and keys at once; no half is copied."""
    half = heads.shape[-1] // 2
    turned = heads * cos.unsqueeze(2)
    turned[..., :half].addcmul_(heads[..., half:], sin[..., :half].unsqueeze(2), value=-1)
    turned[..., half:].addcmul_(heads[..., :half], sin[..., half:].unsqueeze(2))
    return turned
