"""Prompts of predict.py: read one, continue it, and write the text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..engine import Count, refusal
from ..engine.order import BatchOrder, batches, seed_of
from ..models.generate import Temperature, TopP
from .documents import not_text
from .tokenized import TokenizedDataModule
from .tokenizer import Vocabulary


class PromptDataModule(TokenizedDataModule):
    """Tokens for a model that continues prompts with `temperature`, `top_p`, `max_new_tokens`: models/generate.py."""

    input_is_text = True  # predict.py input="def main(" is a prompt
    input_example = "'Once upon a time'"

    def __init__(
        self,
        temperature: Temperature = 0.8,
        top_p: TopP = 0.95,
        max_new_tokens: Count = 200,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.temperature, self.top_p, self.max_new_tokens = temperature, top_p, max_new_tokens
        self.prompts: list[str] = []
        self.encoded: list[Tensor] = []  # prompts as tokens (1, T)

    def encode_prompt(self, prompt: str, vocabulary: Vocabulary) -> Tensor:
        """Return the tokens (1, T) that the model continues."""
        return torch.tensor([[vocabulary.end, *vocabulary.encode(prompt)]])

    def read_prompts(self, source: str) -> list[str]:
        """Take `source` as the prompt, or read it from the file of that name."""
        return [read_text(source)]

    def read_inputs(self, source: str, hparams: Mapping[str, Any]) -> list[str]:
        vocabulary = Vocabulary(**hparams["statistics"])
        self.prompts = self.read_prompts(source)
        self.encoded = [self.encode_prompt(prompt, vocabulary) for prompt in self.prompts]
        return []

    def predict_dataloader(self) -> DataLoader:
        """Load each prompt (1, T) and its sampling parameters."""
        if self.trainer is not None and self.trainer.progress_bar_callback is not None:
            self.trainer.progress_bar_callback.disable()  # the text itself shows the progress
        sampling = torch.tensor([[self.temperature, self.top_p]])
        numbers = [torch.tensor([[self.max_new_tokens, seed_of(self.seed, k)]]) for k in range(len(self.encoded))]
        return batches(PromptBatches(self.encoded, sampling, numbers), BatchOrder(len(self.encoded), 1))

    def predictions_name(self, source: str) -> str:
        return f"{Path(source).stem}.txt" if Path(source).is_file() else "prompt.txt"

    def write_predictions(self, outputs: list[str], path: Path, hparams: Mapping[str, Any]) -> int:
        """Write the prompt and its continuation. Return the number of texts."""
        texts = (prompt + text for prompt, text in zip(self.prompts, outputs, strict=True))
        path.write_text("".join(texts), encoding="utf-8", newline="")
        return len(outputs)


def read_text(source: str, kind: str = "prompt") -> str:
    """Take `source` as the text, or read it from the file of that name. Raises RefusedError for a folder."""
    path = Path(source)
    if path.is_dir():
        raise refusal("input", source, f"is a folder; expected a {kind}, or a text file that holds one")
    if not path.is_file():
        return source
    try:
        content = path.read_bytes()
    except OSError as error:
        raise refusal("input", source, f"can't be read ({error.strerror})") from error
    if problem := not_text([content]):
        raise refusal("input", source, problem)
    return content.decode("utf-8-sig")


class PromptBatches(Dataset[tuple[Tensor, ...]]):
    """Prompts (1, T) of any length, one a batch, with temperature and top_p (1, 2), and length and seed (1, 2)."""

    def __init__(self, prompts: list[Tensor], sampling: Tensor, numbers: list[Tensor]) -> None:
        self.prompts, self.sampling, self.numbers = prompts, sampling, numbers

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        return self.prompts[int(index)], self.sampling, self.numbers[int(index)]
