"""A hook of mkdocs: puts tables of the questions of cookiecutter.json in place of `<!-- questions -->`."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARK = "<!-- questions -->"


def tables() -> str:
    """One table of the questions that take any text, and one of those that offer choices."""
    questions = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
    asked = questions["__prompts__"]
    texts = ["| question | name |", "|---|---|"]
    choices = ["| question | name | answer | means |", "|---|---|---|---|"]
    for name, words in asked.items():
        if isinstance(words, str):
            texts.append(f"| {words} | `{name}` |")
            continue
        for number, answer in enumerate(questions[name]):
            first = (words["__prompt__"], f"`{name}`") if number == 0 else ("", "")
            choices.append(f"| {first[0]} | {first[1]} | `{answer}` | {words[answer]} |")
    return "\n".join([*texts, "", *choices])


def on_page_markdown(markdown: str, **_: Any) -> str:
    return markdown.replace(MARK, tables())
