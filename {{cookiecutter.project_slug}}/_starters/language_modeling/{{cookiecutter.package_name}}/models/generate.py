"""Text, a token at a time: temperature, nucleus, and a generator of its own."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

TopP = Annotated[float, Field(gt=0, le=1)]
Temperature = Annotated[float, Field(ge=0, le=100)]  # from the likeliest token to any
# tokens (1, T) and the cache of all tokens before them, to logits (1, T, V); the cache is changed in place.
Network = Callable[[Tensor, dict[str, Any]], Tensor]


@torch.inference_mode()
def generate(
    network: Network,
    prompt: Tensor,
    end: int,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Iterator[int]:
    """The tokens that follow `prompt` (1, T), each as it is drawn, up to the token `end` or `max_new_tokens`.

    `temperature` 0 takes the likeliest token each time. Equal seeds give equal text; no other random state is touched.
    """
    generator = torch.Generator().manual_seed(seed)
    cache: dict[str, Any] = {}
    tokens = prompt
    for _ in range(max_new_tokens):
        logits = network(tokens, cache)[0, -1].float().cpu()
        token = draw(logits, temperature, top_p, generator)
        if token == end:
            return
        yield token
        tokens = torch.tensor([[token]], device=prompt.device)


def draw(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """One token by `logits` (V,): of the likeliest ones that together have the probability `top_p`.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020.
    """
    if temperature == 0:
        return int(logits.argmax())
    logits = (logits - logits.max()) / max(temperature, 1e-6)  # so that it can't overflow
    probabilities, tokens = logits.softmax(-1).sort(descending=True, stable=True)
    probabilities[probabilities.cumsum(-1) - probabilities >= top_p] = 0
    return int(tokens[torch.multinomial(probabilities, 1, generator=generator)])
