"""Engineering that every task shares: run folders, training, evaluation, prediction. Nothing here knows the task."""
