"""Non-essential research code: what can be taken away and the training is the same."""
