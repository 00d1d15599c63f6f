"""Context-aware prompt tuning: examples whose embeddings may move a little (CPT, Blau et al. 2024, arXiv 2410.17222).

Few-shot prompting puts examples before a text; prompt tuning trains virtual tokens there. Here the virtual tokens start
as the examples, and training refines them: the answers stay fixed, every other token stays near its word, and an
auxiliary loss predicts the answers inside the context. All three reduce overfitting, because few-shot prompting is used
when there are few examples.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from softprompt.model import FrozenModel, Placement, PromptEmbeddings, get_placeholder_id
from softprompt.prompts.initializers import InitialValue
from softprompt.prompts.soft_prompt import SoftPrompt
from softprompt.tasks import FewShotContext, LinearHead

#: Largest move of a token, as a share of the typical norm of a word embedding. In the bundled model the nearest other
#: word is 0.62 norms away in the median, and 0.4 or more for 19 words in 20: no token becomes another word. The paper
#: and peft use an absolute radius, which is a large move in one model and a negligible one in another.
RELATIVE_RADIUS = 0.2
#: Weight of an answer relative to the next one: answers nearer to the text count more.
ANSWER_WEIGHT_DECAY = 0.95
#: A projected token is inside the ball by this share, so that rounding does not cause a second projection.
PROJECTION_MARGIN = 1e-5


class ContextAwarePrompt(SoftPrompt):
    """A soft prompt of P embeddings `[P, H]`, of which M have a trainable shift `[M, H]` of at most `radius`.

    Args:
        init: embeddings of the context.
        demonstrations: examples in the context, or None for a text without answers, in which every token may move.
        radius: largest norm of a token's shift, in the L2 norm.
        placement: placement of the virtual tokens.
        head: see `SoftPrompt`.
    """

    start: Tensor
    trainable_positions: Tensor
    output_positions: Tensor
    target_ids: Tensor
    answer_weights: Tensor

    def __init__(
        self,
        init: InitialValue,
        demonstrations: FewShotContext | None,
        radius: float,
        placement: Placement,
        head: LinearHead | None = None,
    ):
        super().__init__(head)
        P, H = init.tensor.shape
        ids, answers = (demonstrations.token_ids, demonstrations.answer_ranges) if demonstrations else ((), ())
        answer_positions = [position for answer in answers for position in answer]
        trainable = [position for position in range(P) if position not in set(answer_positions)]
        outputs = [position - 1 for position in answer_positions]
        self._register_constant("trainable_positions", torch.tensor(trainable))
        self._register_constant("output_positions", torch.tensor(outputs, dtype=torch.long))
        self._register_constant("target_ids", torch.tensor([ids[p] for p in answer_positions], dtype=torch.long))
        self._register_constant("answer_weights", torch.tensor(_compute_answer_weights(answers)))
        self.register_buffer("start", init.tensor.clone())
        self.shift = nn.Parameter(torch.zeros(len(self.trainable_positions), H))
        self.radius = radius
        self.placement = placement

    def forward(self) -> PromptEmbeddings:
        """Return the prompt embeddings, `[P, H]`: the initial value plus the shift, projected into the ball.

        The shift itself is projected in place, as in the paper, so that the next update starts inside the ball.
        """
        self._project_shift()
        return PromptEmbeddings(self.start.index_add(0, self.trainable_positions, self.shift), self.placement)

    def compute_auxiliary_loss(self, model: FrozenModel) -> Tensor | None:
        """Return the loss of the answers inside the context, or None without answers.

        The virtual tokens run as one sequence. The loss of an answer is the mean over its tokens, and answers nearer to
        the end have larger weights.
        """
        if not len(self.target_ids):
            return None
        payload = self()
        prompt_ids = payload.apply_to_prompt(model.prompt_tokenizer.add_special_tokens([]))
        ids = torch.tensor([prompt_ids], device=model.device)
        states = model.compute_hidden_states(ids, torch.ones_like(ids, dtype=torch.bool), payload)[0]
        logits = model.compute_logits(states[self.output_positions + prompt_ids.index(get_placeholder_id(0))])
        return (self.answer_weights * nn.functional.cross_entropy(logits, self.target_ids, reduction="none")).sum()

    @torch.no_grad()
    def _project_shift(self) -> None:
        norms = self.shift.norm(dim=1, keepdim=True)
        scales = self.radius * (1 - PROJECTION_MARGIN) / norms
        self.shift.mul_(torch.where(norms > self.radius, scales, torch.ones_like(norms)))

    def _register_constant(self, name: str, tensor: Tensor) -> None:
        """Register a buffer that follows from the context and is therefore not part of checkpoints."""
        self.register_buffer(name, tensor, persistent=False)


def _compute_answer_weights(answers: Sequence[range]) -> list[float]:
    """Return the weights of the answer tokens. They share the weight of their answer, which is largest for the last."""
    distances = range(len(answers), 0, -1)
    return [
        ANSWER_WEIGHT_DECAY**distance / len(answer)
        for answer, distance in zip(answers, distances, strict=True)
        for _ in answer
    ]
