"""The error that ends a command before work: one line for the user, exit status 2."""

import re

# Modules whose pip package has another name.
PIP_NAMES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


class RefusedError(Exception):
    """Says in one line what was given, what was expected, and what to do."""


def pip_command(error: ModuleNotFoundError) -> str:
    """The command that installs what is missing; Lightning's own errors name it in backquotes or in their text."""
    words = re.findall(r"\b(?:wandb|mlflow|tensorboard|psutil)\b", str(error))
    name = words[0] if words else (error.name or str(error)).partition(".")[0]
    return f"pip install -c constraints.txt {PIP_NAMES.get(name, name)}"
