"""LightningModule for language modelling: loss, metrics and optimizer, for any network."""

import math
import sys
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningModule
from torch import Tensor
from torchmetrics import SumMetric

from ..datamodules.tokenizer import Statistics, Vocabulary
from ..engine import Config, Given, OptimizerConfig, SchedulerConfig, build, printable, refusal
from .generate import generate
from .optimization import build_optimizer, parameter_groups

IGNORE_INDEX = -100  # target that the loss ignores
Batch = tuple[Tensor, Tensor]  # tokens (B, T + 1), and which of the targets count (B, T)


class LanguageModel(LightningModule):
    """Train `network` with cross-entropy to predict the next token of a text, or of an answer to a prompt.

    `network`, `optimizer` and `scheduler` are config nodes: plain dicts with a `_target_`, so that checkpoints hold
    only plain values. The datamodule provides `context` and `statistics` (the vocabulary), so that a checkpoint is
    enough to continue a prompt. Losses are in nats per token; bits per byte can be compared across vocabularies.
    """

    # Metrics that `monitor` may name, and whether lower ("min") or higher ("max") is better.
    logged = {"train/loss": "min", "val/loss": "min", "val/bits_per_byte": "min"}

    # 1. Computations

    def __init__(
        self,
        network: Annotated[Config, Given("vocab_size", "context")],
        optimizer: OptimizerConfig,
        context: int,
        statistics: Statistics,
        scheduler: SchedulerConfig | None = None,
        compile: bool = False,
        class_names: list[str] | None = None,  # of data that is for another model
    ) -> None:
        super().__init__()
        if class_names is not None:
            why = "the data has classes; expected experiment=classification"
            raise refusal("model._target_", type(self).__name__, why)
        self.save_hyperparameters(ignore="class_names")
        self.vocabulary = Vocabulary(**statistics)
        self.network = build(network, vocab_size=len(self.vocabulary), context=context)
        if compile:
            # In place, so that the keys in checkpoints do not change. Not dynamic: a resumed run meets the shapes in
            # another order and must still get the same kernels.
            self.network.compile(dynamic=False)
        lengths = torch.tensor([len(piece) for piece in self.vocabulary.pieces])
        self.register_buffer("lengths", lengths, persistent=False)  # bytes of each token (V,)
        # Sums over the evaluated split.
        self.total_nats, self.num_tokens, self.num_bytes = SumMetric(), SumMetric(), SumMetric()

    def forward(self, tokens: Tensor, cache: dict[str, Any] | None = None) -> Tensor:
        """Compute logits (B, T, V) of the token after each of `tokens` (B, T), which follow those in `cache`."""
        network = self.network if self.training else self.network.forward  # only training uses the compiled network
        return network(tokens, cache)

    # 2. Train loop

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        windows, counted = batch
        targets = windows[:, 1:].masked_fill(~counted, IGNORE_INDEX)
        loss = F.cross_entropy(self(windows[:, :-1]).flatten(0, 1), targets.flatten())
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(windows), sync_dist=True)
        return loss

    # 3. Validation loop

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluation_step(batch)

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    # 4. Test loop

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluation_step(batch)

    def on_test_epoch_end(self) -> None:
        self._log_epoch("test")

    def predict_step(self, batch: tuple[Tensor, Tensor, Tensor], batch_idx: int) -> str:
        """Continue or answer the prompt (1, T), and print the text as it is generated."""
        prompt, sampling, numbers = batch
        (temperature, top_p), (length, seed) = sampling[0].tolist(), numbers[0].tolist()
        tokens = generate(self, prompt, self.vocabulary.end, length, temperature, top_p, seed)
        shown = self.vocabulary.decode(prompt[0].tolist())
        is_ended = prompt.shape[1] > 1 and prompt[0, -1] == self.vocabulary.end  # an answer follows, no continuation
        sys.stdout.write(printable(shown + "\n" * is_ended, keep="\n\t"))
        text = ""
        for piece in self.vocabulary.stream(tokens):
            sys.stdout.write(printable(piece, keep="\n\t"))  # a model can generate control characters
            sys.stdout.flush()
            text += piece
        sys.stdout.write("\n")
        return text

    def _evaluation_step(self, batch: Batch) -> None:
        windows, counted = batch
        targets = windows[:, 1:]
        logits = self(windows[:, :-1]).flatten(0, 1)
        nats = F.cross_entropy(logits, targets.masked_fill(~counted, IGNORE_INDEX).flatten(), reduction="sum")
        self.total_nats.update(nats)
        self.num_tokens.update(counted.sum())
        self.num_bytes.update(self.lengths[targets][counted].sum())

    def _log_epoch(self, split: str) -> None:
        """Log the mean loss per token and the bits per byte of the whole split."""
        nats = self.total_nats.compute()
        bits = nats / math.log(2) / self.num_bytes.compute()
        self.log_dict(
            {f"{split}/loss": nats / self.num_tokens.compute(), f"{split}/bits_per_byte": bits},
            prog_bar=True,
            sync_dist=True,
        )
        for metric in (self.total_nats, self.num_tokens, self.num_bytes):
            metric.reset()

    # 5. Optimizers

    def configure_optimizers(self) -> Any:
        groups = parameter_groups(self.network, without=(torch.nn.Embedding,))
        return build_optimizer(self, groups, monitor="val/loss")
