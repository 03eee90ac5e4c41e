"""The questions of cookiecutter.json as tables: an mkdocs hook for `<!-- questions -->`, and the table of README.md.

python docs/questions.py rewrites that of README.md
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MARK = "<!-- questions -->"
IN_README = re.compile(r"(?<=## The questions\n\n)(\|.*\n)+")


def read() -> dict[str, Any]:
    return json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))


def tables() -> str:
    """Return one table of the questions that take any text, and one of those that offer choices."""
    questions = read()
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


def overview() -> str:
    """Return a table with a row for each question that offers choices."""
    questions = read()
    asked = {name: words["__prompt__"] for name, words in questions["__prompts__"].items() if isinstance(words, dict)}
    rows = [f"| {question} | `{name}` | {', '.join(questions[name])} |" for name, question in asked.items()]
    return "\n".join(["| question | name | choices |", "|---|---|---|", *rows, ""])


def on_page_markdown(markdown: str, **_: Any) -> str:
    return markdown.replace(MARK, tables())


if __name__ == "__main__":
    path = ROOT / "README.md"
    text = path.read_text(encoding="utf-8")
    path.write_text(IN_README.sub(lambda _: overview(), text), encoding="utf-8")
