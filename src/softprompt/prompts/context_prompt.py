"""Context-aware prompt tuning: examples whose embeddings may move a little (CPT, Blau et al. 2024, arXiv 2410.17222).

Few-shot prompting puts examples in front of a text, prompt tuning trains what stands there. Here the virtual tokens
start as the examples, and training polishes them: the answers stay as they are, every other token stays near the word
it was, and the prompt's own loss asks for the answers inside it too. All three are there against overfitting, since few
examples are what few-shot prompting is for.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from softprompt.model import Embeddings, FrozenModel, Placement, placeholder
from softprompt.prompts.initial import Start
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import Demonstrations, LinearHead

#: How far a token may move, as a share of the length that a word's embedding typically has. In the embedded model the
#: nearest other word is 0.62 lengths away in the median and 0.4 or more for 19 words in 20: no token becomes another
#: word. The paper and peft give the radius in absolute numbers, a large move in one model and none at all in another.
RADIUS = 0.2
#: What an answer counts beside the one behind it: the nearer to the text, the more.
DECAY = 0.95
#: A projected token stands this share inside the ball, so that rounding does not have it projected a second time.
MARGIN = 1e-5


class ContextPrompt(SoftPrompt):
    """P embeddings `[P, H]`, of which M have a shift `[M, H]` that trains, each no longer than `radius`.

    Args:
        start: the embeddings of the context.
        shown: its examples, or None where it is a text without answers: then everything may move.
        radius: how far a token's embedding may move, in the L2 norm.
        placement: where the virtual tokens stand.
        head: see `SoftPrompt`.
    """

    start: Tensor
    moving: Tensor
    reads: Tensor
    targets: Tensor
    weights: Tensor

    def __init__(
        self,
        start: Start,
        shown: Demonstrations | None,
        radius: float,
        placement: Placement,
        head: LinearHead | None = None,
    ):
        super().__init__(head)
        P, H = start.tensor.shape
        ids, answers = (shown.ids, shown.answers) if shown else ((), ())
        fixed = {place for answer in answers for place in answer}
        self._keep("moving", torch.tensor([place for place in range(P) if place not in fixed]))
        self._keep("reads", torch.tensor([place - 1 for answer in answers for place in answer], dtype=torch.long))
        self._keep("targets", torch.tensor([ids[place] for answer in answers for place in answer], dtype=torch.long))
        self._keep("weights", torch.tensor(_weights(answers)))
        self.register_buffer("start", start.tensor.clone())
        self.shift = nn.Parameter(torch.zeros(len(self.moving), H))
        self.radius = radius
        self.placement = placement

    def forward(self) -> Embeddings:
        """The embeddings, `[P, H]`: the start and, where it may move, its shift, which is first brought into the ball.

        It is the shift itself that is projected, as in the paper, so that the next update begins inside the ball.
        """
        self._project()
        return Embeddings(self.start.index_add(0, self.moving, self.shift), self.placement)

    def own_loss(self, model: FrozenModel) -> Tensor | None:
        """The loss of the answers inside the context, each its tokens' mean, weighted by how near the end it stands.

        The virtual tokens are run as one row. None where there are no answers.
        """
        if not len(self.targets):
            return None
        payload = self()
        row = payload.arrange(model.row([]))
        ids = torch.tensor([row], device=model.device)
        states = model.hidden(ids, torch.ones_like(ids, dtype=torch.bool), payload)[0]
        logits = model.logits(states[self.reads + row.index(placeholder(0))])
        return (self.weights * nn.functional.cross_entropy(logits, self.targets, reduction="none")).sum()

    @torch.no_grad()
    def _project(self) -> None:
        norms = self.shift.norm(dim=1, keepdim=True)
        inside = self.radius * (1 - MARGIN) / norms
        self.shift.mul_(torch.where(norms > self.radius, inside, torch.ones_like(norms)))

    def _keep(self, name: str, tensor: Tensor) -> None:
        """A tensor that follows from the context, so that no checkpoint holds it."""
        self.register_buffer(name, tensor, persistent=False)


def _weights(answers: Sequence[range]) -> list[float]:
    """What each token of the answers counts: the tokens of an answer share its weight, that of the last is `DECAY`."""
    behind = range(len(answers), 0, -1)
    return [DECAY**distance / len(each) for each, distance in zip(answers, behind, strict=True) for _ in each]
