"""Write docs/generated/environment.md from the one definition of every variable."""

from __future__ import annotations

from pathlib import Path

from pyccl import config

TARGET = Path(__file__).parent / "generated" / "environment.md"


def page() -> str:
    """Return the tables as Markdown."""
    lines = ["| variable | default | allowed | meaning |", "|---|---|---|---|"]
    lines += [f"| `{v.name}` | {v.default} | {v.allowed} | {v.help} |" for v in config.variables().values()]
    lines += [
        "",
        "These are read by the build, the tests and `pyccl.launch` only:",
        "",
        "| variable | meaning |",
        "|---|---|",
    ]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in config.ELSEWHERE.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(page(), encoding="utf-8")
