"""Write docs/generated/api.md: every name in the public list of every public module."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

MODULES = (
    "pyccl", "pyccl.algorithms", "pyccl.schedule", "pyccl.cost", "pyccl.tuning", "pyccl.flight", "pyccl.config",
    "pyccl.policy", "pyccl.server", "pyccl.optim", "pyccl.initializers", "pyccl.sim",
)  # fmt: skip
TARGET = Path(__file__).parent / "generated" / "api.md"


def directive(module: str, name: str) -> list[str]:
    """Return the autodoc lines of one public name."""
    thing = getattr(importlib.import_module(module), name)
    if inspect.isclass(thing):
        parts = name in ("Communicator", "ParameterServer")  # made of classes that are no names of their own
        inherited = ["   :inherited-members:"] if parts else []
        return [f".. autoclass:: {module}.{name}", "   :members:", *inherited, "   :show-inheritance:"]
    if inspect.ismodule(thing):
        return []  # has a section of its own
    if callable(thing):
        return [f".. autofunction:: {module}.{name}"]
    return [f".. autodata:: {module}.{name}", "   :no-value:"]


def public(module: ModuleType) -> list[str]:
    """Return the module's public list; without one, the public functions and classes that it defines."""
    own = [name for name, thing in vars(module).items() if getattr(thing, "__module__", "") == module.__name__]
    names: list[str] = getattr(module, "__all__", own)
    return [name for name in names if not name.startswith("_")]


def page() -> str:
    """Return the page as Markdown; a name is described in the first module that lists it."""
    parts: list[str] = []
    seen: set[int] = set()
    for module in filter(importlib.util.find_spec, MODULES):
        namespace = importlib.import_module(module)
        parts += [f"## {module}", "", (inspect.getdoc(namespace) or "").split("\n\n")[0], "", "```{eval-rst}"]
        for name in public(namespace):
            thing = getattr(namespace, name)
            if id(thing) not in seen:
                seen.add(id(thing))
                parts += [*directive(module, name), ""]
        parts += ["```", ""]
    return "\n".join(parts)


if __name__ == "__main__":
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(page(), encoding="utf-8")
