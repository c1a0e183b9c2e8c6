"""Measuring a draft: on captured answers, or on answers that a target loaded here writes.

One pass of the draft over a whole answer tells the chances of all its tokens: as long as all
proposals so far were taken, the draft's context is the target's own text.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from openwheel.students.draft.acceptance import Acceptance, acceptance
from openwheel.students.draft.examples import Example


def against_answers(draft: Any, examples: Sequence[Example], draft_tokens: int) -> Acceptance:
    """Measure a draft on answers as they were captured; the target need not be here.

    Exact for a draft that proposes its likeliest token each time: a target that decodes greedily
    takes that token if it is its own, and one that samples takes it as often as it would have
    drawn it, which is how often captured answers have it there.

    Args:
        draft: A causal language model.
        examples: Captured answers that it was not trained on.
        draft_tokens: How many tokens are proposed before each pass of the target.

    Raises:
        ModelError: There are no answers.
    """
    return acceptance([_greedy_chances(draft, each) for each in examples], draft_tokens)


def against_target(
    draft: Any,
    target: Any,
    examples: Sequence[Example],
    draft_tokens: int,
    *,
    temperature: float = 0.0,
    max_new_tokens: int = 256,
    seed: int = 0,
) -> Acceptance:
    """Measure a draft on answers that a target writes here to captured prompts.

    Args:
        draft: A causal language model.
        target: The one it drafts for.
        examples: Their prompts are used.
        draft_tokens: How many tokens are proposed before each pass of the target.
        temperature: 0 decodes greedily; else both are sampled from at this temperature.
        max_new_tokens: The most tokens of an answer.
        seed: Of the sampling.

    Raises:
        ModelError: There are no prompts.
    """
    import torch  # noqa: PLC0415 - seconds of imports

    chances = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for each in examples:
            written = write(target, each, temperature=temperature, max_new_tokens=max_new_tokens)
            if temperature > 0:
                chances.append(_sampled_chances(draft, target, written, temperature))
            else:
                chances.append(_greedy_chances(draft, written))
    return acceptance(chances, draft_tokens)


def write(target: Any, example: Example, *, temperature: float, max_new_tokens: int) -> Example:
    """Return an example with what the target answers in place of what was captured."""
    import torch  # noqa: PLC0415

    prompt = torch.tensor(example.ids[None, : example.prompt], device=target.device)
    how = (
        {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        if temperature > 0
        else {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
    )
    # The example's last token is what ends an answer in this traffic.
    ids = target.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=max_new_tokens,
        eos_token_id=int(example.ids[-1]),
        pad_token_id=int(example.ids[-1]),
        **how,
    )
    return Example(ids[0].cpu().numpy(), example.prompt)


def _greedy_chances(draft: Any, example: Example) -> npt.NDArray[np.float64]:
    likeliest = answer_logits(draft, example).argmax(-1).cpu().numpy()
    chances: npt.NDArray[np.float64] = (likeliest == example.answer).astype(np.float64)
    return chances


def _sampled_chances(
    draft: Any, target: Any, example: Example, temperature: float
) -> npt.NDArray[np.float64]:
    import torch  # noqa: PLC0415

    answer = torch.tensor(example.answer)[:, None]
    ours, theirs = (
        (answer_logits(model, example).double().cpu() / temperature)
        .log_softmax(-1)
        .gather(1, answer)[:, 0]
        for model in (draft, target)
    )
    chances: npt.NDArray[np.float64] = (ours - theirs).clamp(max=0).exp().numpy()
    return chances


def answer_logits(model: Any, example: Example) -> Any:
    """Return the logits before each token of the answer, shape (tokens, vocabulary)."""
    import torch  # noqa: PLC0415

    count = len(example.answer)
    with torch.inference_mode():
        ids = torch.tensor(example.ids[None], device=model.device)
        logits = model(input_ids=ids, logits_to_keep=count + 1).logits
    return logits[0, -count - 1 : -1].float()
