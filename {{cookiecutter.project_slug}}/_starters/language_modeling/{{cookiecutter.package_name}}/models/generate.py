"""Text generation, one token at a time, with temperature, top-p (nucleus) sampling and a seed."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

TopP = Annotated[float, Field(gt=0, le=1)]
Temperature = Annotated[float, Field(ge=0, le=100)]  # 0: most likely token; high: nearly uniform
# Maps tokens (1, T) and a cache of all tokens before them to logits (1, T, V); the cache is changed in place.
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
    """Yield the tokens that follow `prompt` (1, T), up to the token `end` or `max_new_tokens`.

    `temperature` 0 always takes the most likely token. Equal seeds give equal text; no other random state is touched.
    """
    generator = torch.Generator().manual_seed(seed)
    cache: dict[str, Any] = {}
    tokens = prompt
    for _ in range(max_new_tokens):
        logits = network(tokens, cache)[0, -1].float().cpu()
        token = sample_token(logits, temperature, top_p, generator)
        if token == end:
            return
        yield token
        tokens = torch.tensor([[token]], device=prompt.device)


def sample_token(logits: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> int:
    """Sample a token from `logits` (V,), among the most likely ones whose total probability reaches `top_p`.

    Source: Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020.
    """
    if temperature == 0:
        return int(logits.argmax())
    logits = (logits - logits.max()) / max(temperature, 1e-6)  # prevents overflow
    probabilities, tokens = logits.softmax(-1).sort(descending=True, stable=True)
    probabilities[probabilities.cumsum(-1) - probabilities >= top_p] = 0
    return int(tokens[torch.multinomial(probabilities, 1, generator=generator)])
