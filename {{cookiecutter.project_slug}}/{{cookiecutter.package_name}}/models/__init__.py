"""Research code: the LightningModule of the task, and the networks that it trains."""
