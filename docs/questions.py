"""Write the tables of the questions in cookiecutter.json into README.md and docs/start.md.

python docs/questions.py
"""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = re.compile(r"(?<=<!-- questions -->\n\n).*?(?=\n\n<!-- end of questions -->)", re.DOTALL)


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
    return "\n".join(["| question | name | choices |", "|---|---|---|", *rows])


PAGES = {ROOT / "README.md": overview, ROOT / "docs" / "start.md": tables}


def updated(page: Path) -> str:
    """Return the text of a page with its table as it should be."""
    return TABLE.sub(lambda _: PAGES[page](), page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(updated(page), encoding="utf-8")
