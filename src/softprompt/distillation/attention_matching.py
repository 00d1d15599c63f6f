"""Attention Matching: fewer keys and values whose attention output is the same (Zweiger et al. 2026, arXiv 2602.16284).

Each KV head of each layer is compressed by itself, in closed form, for the queries of reference tokens:

1. Keys are selected by the attention that the queries pay to them, times the distance of their value from the mean
   output. The first token is always kept: it is the attention sink of most heads.
2. All selected keys but the first get the same addition, so that the sum of their exponentiated logits, which text
   tokens compete with, is that of all keys. The paper adds a bias to the logits instead, but no server has a place for
   one. Queries have a common direction, and an addition along it is close to a bias.
3. Values are fitted by least squares, with a ridge towards the values of the selected tokens. BOS keeps its own, which
   no prompt can change.

Then the keys are rotated, so that each keeps its distance to the text, which begins at a lower position.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softprompt.errors import SettingError
from softprompt.model import CausalModel, KVPrefix
from softprompt.model.family import get_attention_softcap
from softprompt.model.rotary import shift_positions

MAX_QUERIES = 2000  # of a KV head, evenly spaced among the given ones: the time of a fit grows with them
VALUE_RIDGE = 1e-3  # relative to the mean square of the attention weights
DIRECTION_RIDGE = 1e-4  # relative to the mean square of the queries
MAX_ADDITION = 6.0  # in units of a logit: at most about 400 dropped keys per selected key
NUM_NEWTON_STEPS = 10  # on two models, ten more changed the keys of a document by less than 1e-5


@torch.no_grad()
def compress_prefix(
    model: CausalModel, context: KVPrefix, queries: Float[Tensor, "L A n D"], num_virtual_tokens: int
) -> KVPrefix:
    """Compress the keys and values of a text to fewer, whose attention output is about the same.

    Args:
        model: model that computed the keys, values and queries.
        context: complete prefix of N positions, without a frozen prefix; BOS, if it has one, is kept in addition.
        queries: queries of tokens behind the context, from `CausalModel.compute_queries`.
        num_virtual_tokens: number of virtual tokens, P.

    Returns:
        A prefix of P virtual tokens, in float32. With as many as the text has, the context itself.

    Raises:
        SettingError: P is less than 1 or more than the tokens of the context.
    """
    num_positions = _count_positions(context, num_virtual_tokens)
    if num_positions == context.num_positions:
        return context
    softcap = get_attention_softcap(model.network.config)
    layers = [
        _compress_layer(keys, values, layer_queries, num_positions, softcap, num_fixed=int(context.has_bos))
        for (keys, values), layer_queries in zip(
            context.tensor.float(), _group_queries(queries.float(), context.tensor.shape[2]), strict=True
        )
    ]
    return _move_to_text(model, context, torch.stack(layers))


@torch.no_grad()
def truncate_prefix(model: CausalModel, context: KVPrefix, num_virtual_tokens: int) -> KVPrefix:
    """Return the first token of a text and the last ones, with the keys and values that they have behind the others.

    Args:
        model: model that computed the keys and values.
        context: complete prefix of N positions, without a frozen prefix; BOS, if it has one, is kept in addition.
        num_virtual_tokens: number of virtual tokens, P.

    Raises:
        SettingError: P is less than 1 or more than the tokens of the context.
    """
    num_last = _count_positions(context, num_virtual_tokens) - 1
    first, last = context.tensor[:, :, :, :1], context.tensor[:, :, :, context.num_positions - num_last :]
    return _move_to_text(model, context, torch.cat([first, last], dim=3))


def _count_positions(context: KVPrefix, num_virtual_tokens: int) -> int:
    """Return the number of positions of the compressed prefix: P, and one for BOS."""
    num_tokens = context.num_positions - context.has_bos
    if not 1 <= num_virtual_tokens <= num_tokens:
        raise SettingError(
            f"{num_virtual_tokens} virtual tokens cannot be selected from a text of {num_tokens} tokens: "
            f"choose a number from 1 to {num_tokens}"
        )
    return num_virtual_tokens + context.has_bos


def _move_to_text(model: CausalModel, context: KVPrefix, tensor: Float[Tensor, "L 2 G P D"]) -> KVPrefix:
    """Rotate all keys but the first, which stays at position 0, to their distance from a text at position P."""
    offset = torch.full((tensor.shape[3],), tensor.shape[3] - context.num_positions)
    offset[0] = 0
    return replace(context, tensor=shift_positions(model, tensor, offset.to(tensor.device)), num_shared_tokens=0)


def _group_queries(queries: Float[Tensor, "L A n D"], num_kv_heads: int) -> Float[Tensor, "L G m D"]:
    """Pool the queries of the heads that share a KV head, and take evenly spaced ones if there are many."""
    pooled: Tensor = queries.unflatten(1, (num_kv_heads, -1)).flatten(2, 3)
    num_queries = pooled.shape[2]
    if num_queries <= MAX_QUERIES:
        return pooled
    return pooled[:, :, torch.linspace(0, num_queries - 1, MAX_QUERIES, device=queries.device).round().long()]


def _compress_layer(
    keys: Float[Tensor, "G N D"],
    values: Float[Tensor, "G N D"],
    queries: Float[Tensor, "G m D"],
    num_positions: int,
    softcap: float | None,
    num_fixed: int,
) -> Float[Tensor, "2 G P D"]:
    logits = _compute_logits(queries, keys, softcap)
    attention = logits.softmax(dim=-1)
    output = attention @ values
    indices = _select_positions(attention, values, output, num_positions).unsqueeze(-1)
    selected_keys = keys.take_along_dim(indices, dim=1)
    selected_keys = _restore_attention_mass(selected_keys, queries, logits.logsumexp(dim=-1), softcap)
    weights = _compute_logits(queries, selected_keys, softcap).softmax(dim=-1)
    selected_values = values.take_along_dim(indices, dim=1)
    return torch.stack([selected_keys, _fit_values(weights, output, selected_values, num_fixed)])


def _compute_logits(
    queries: Float[Tensor, "G m D"], keys: Float[Tensor, "G N D"], softcap: float | None
) -> Float[Tensor, "G m N"]:
    logits: Tensor = queries @ keys.transpose(1, 2)
    return logits if softcap is None else softcap * torch.tanh(logits / softcap)


def _select_positions(
    attention: Float[Tensor, "G m N"],
    values: Float[Tensor, "G N D"],
    output: Float[Tensor, "G m D"],
    num_positions: int,
) -> Int[Tensor, "G P"]:
    """Select the first position and those whose loss would change the output most, in the order of the text."""
    distances = torch.linalg.vector_norm(values - output.mean(dim=1, keepdim=True), dim=-1)
    scores = attention.square().mean(dim=1).sqrt() * distances
    scores[:, 0] = torch.inf
    indices: Tensor = scores.topk(num_positions, dim=-1).indices.sort(dim=-1).values
    return indices


def _restore_attention_mass(
    keys: Float[Tensor, "G P D"],
    queries: Float[Tensor, "G m D"],
    log_mass: Float[Tensor, "G m"],
    softcap: float | None,
) -> Float[Tensor, "G P D"]:
    """Add one vector to all keys but the first, so that the log-sum-exp of the logits is about `log_mass`.

    The vector is a multiple of the direction whose product with all queries is closest to 1. The multiple is found by
    Newton's method (Gauss-Newton on the squared differences).
    """
    direction = _find_common_direction(queries)
    products = queries @ direction.transpose(1, 2)  # about 1
    is_shifted = torch.arange(keys.shape[1], device=keys.device).sign().unsqueeze(-1)
    multiple = torch.zeros_like(keys[:, :1, :1])
    for _ in range(NUM_NEWTON_STEPS):
        logits = _compute_logits(queries, keys + multiple * direction * is_shifted, softcap)
        difference = (logits.logsumexp(dim=-1) - log_mass).unsqueeze(-1)
        slope = (1 - logits.softmax(dim=-1)[:, :, :1]) * products
        step = (slope * difference).sum(dim=1, keepdim=True) / slope.square().sum(dim=1, keepdim=True).clamp(min=1e-6)
        multiple = (multiple - step).clamp(-MAX_ADDITION, MAX_ADDITION)
    return keys + multiple * direction * is_shifted


def _find_common_direction(queries: Float[Tensor, "G m D"]) -> Float[Tensor, "G 1 D"]:
    """Return the vector whose product with all queries is closest to 1, by least squares with a small ridge."""
    gram = queries.transpose(1, 2) @ queries
    return _solve_ridge(gram, queries.sum(dim=1).unsqueeze(-1), DIRECTION_RIDGE).transpose(1, 2)


def _fit_values(
    weights: Float[Tensor, "G m P"], output: Float[Tensor, "G m D"], values: Float[Tensor, "G P D"], num_fixed: int
) -> Float[Tensor, "G P D"]:
    """Fit values whose weighted sums are the output, by least squares with a ridge towards the given values.

    The first `num_fixed` values stay as they are.
    """
    weights, values = weights.double(), values.double()
    residual = output.double() - weights @ values
    free = weights[:, :, num_fixed:]
    change = _solve_ridge(free.transpose(1, 2) @ free, free.transpose(1, 2) @ residual, VALUE_RIDGE)
    return torch.cat([values[:, :num_fixed], values[:, num_fixed:] + change], dim=1).float()


def _solve_ridge(gram: Float[Tensor, "G K K"], target: Float[Tensor, "G K C"], ridge: float) -> Float[Tensor, "G K C"]:
    """Solve `(gram + ridge * mean(diagonal) * I) x = target` in float64."""
    diagonal = gram.diagonal(dim1=1, dim2=2).double()
    damped = gram.double() + torch.diag_embed(
        (ridge * diagonal.mean(dim=1, keepdim=True)).clamp(min=1e-30).expand_as(diagonal)
    )
    solution: Tensor = torch.linalg.solve(damped, target.double()).to(target.dtype)
    return solution
