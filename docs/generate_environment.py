"""Write docs/environment.md from the one definition of every variable; the tests hold the two together."""

from __future__ import annotations

from pathlib import Path

from pyccl import config

TARGET = Path(__file__).parent / "environment.md"
HEAD = """# Environment

Variables are read when `pyccl.init()` or `pyccl.Communicator` is called; their arguments override them. A value
that is not allowed raises `ConfigError` on the rank that has it and `PeerAborted` on the others; an unknown name that
begins with `PYCCL_` is warned about. Set a variable for all ranks alike.
"""


def page() -> str:
    """Return the page as Markdown."""
    lines = [HEAD, "| variable | default | allowed | meaning |", "|---|---|---|---|"]
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
    TARGET.write_text(page(), encoding="utf-8")
