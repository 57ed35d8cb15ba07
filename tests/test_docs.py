"""Every code block, example and docstring runs; every generated page is complete."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyccl import config
from tests import mpi

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
BLOCK = re.compile(r"(?:^<!-- (?P<mark>[^\n]*) -->\n)?^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
MARK = re.compile(r"mpirun -n (?P<ranks>\d+)|illustrative: (?P<why>\w.*)")


@dataclass(frozen=True)
class Block:
    """A code block: the line of its page where it begins, and how many ranks run it (0: one process, no mpirun)."""

    line: int
    ranks: int
    code: str


def blocks(text: str) -> Iterator[Block]:
    """Yield the blocks of a page that are to run."""
    for match in BLOCK.finditer(text):
        mark = MARK.fullmatch(match["mark"]) if match["mark"] else None
        if match["mark"] and not mark:
            raise ValueError(f"a block is marked {match['mark']!r}; known are 'mpirun -n N' and 'illustrative: WHY'")
        if mark is None or mark["ranks"]:
            yield Block(text[: match.start("code")].count("\n"), int(mark["ranks"]) if mark else 0, match["code"])


def program(parts: list[Block]) -> str:
    """Put blocks together such that a traceback's line numbers are those of the page."""
    text = ""
    for block in parts:
        text += "\n" * (block.line - text.count("\n")) + block.code
    return text


def python(script: Path, cwd: Path) -> str:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, str(script)]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


SINGLE = [page for page in PAGES if any(not block.ranks for block in blocks(page.read_text()))]
SEVERAL = [
    pytest.param(page, block, id=f"{page.name}:{block.line}")
    for page in PAGES
    for block in blocks(page.read_text())
    if block.ranks
]


@pytest.mark.parametrize("page", SINGLE, ids=lambda page: page.name)
def test_blocks_of_a_page_run_in_order(page: Path, tmp_path: Path) -> None:
    script = tmp_path / f"{page.name}.py"
    script.write_text(program([block for block in blocks(page.read_text()) if not block.ranks]))
    python(script, tmp_path)


@pytest.mark.mpi
@pytest.mark.parametrize(("page", "block"), SEVERAL)
def test_a_block_runs_under_mpirun(page: Path, block: Block, tmp_path: Path) -> None:
    script = tmp_path / f"{page.name}.py"
    script.write_text(program([block]))
    mpi.mpirun(script, block.ranks, cwd=tmp_path)


@pytest.mark.mpi
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    first = re.match(r"# mpirun -n (\d+)", example.read_text())
    out = mpi.mpirun(example, int(first[1]), cwd=tmp_path).stdout if first else python(example, tmp_path)
    if out.startswith("skipped: "):
        pytest.skip(out.splitlines()[0].removeprefix("skipped: "))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_says_what_it_shows_and_how_to_run_it(example: Path) -> None:
    text = example.read_text()
    doc = ast.get_docstring(ast.parse(text))
    ranks = re.match(r"# (mpirun -n \d+ )?", text.replace("\n", " ", 1))
    assert doc is not None
    assert doc.splitlines()[-1] == f"{ranks[1] if ranks else ''}python docs/examples/{example.name}"
    assert 15 <= len(text.splitlines()) <= (140 if "argparse" in text else 45)  # one with options compares


def test_docstring_examples_run() -> None:
    """In a process of its own: examples may start MPI."""
    command = [sys.executable, "-m", "tests.doctests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^[1-9]\d* examples, 0 failed$", done.stdout, re.MULTILINE), done.stdout


def test_readme_has_the_two_commands_and_names_the_other_pyccl() -> None:
    text = (ROOT / "README.md").read_text()
    found = re.search(r"<!-- ci: commands -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert found is not None
    assert found[1].splitlines() == [
        "pip install '.[mpich]' && mpirun -n 8 python -m pyccl.bench",
        "pip install '.[test]' && pytest",
    ]
    assert "cosmology" in text


def test_links_between_pages_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
        broken += [f"{page.name}: {link}" for link in links if not (page.parent / link).exists()]
    assert not broken


def test_every_variable_in_the_docs_exists() -> None:
    known = {row.name for row in config.variables().values()} | set(config.ELSEWHERE)
    named = {name for page in PAGES for name in re.findall(r"PYCCL_[A-Z_]+", page.read_text())}
    assert named <= known


def test_marks_of_blocks(tmp_path: Path) -> None:
    text = "a\n```python\nx = 1\n```\n<!-- mpirun -n 3 -->\n```python\ny = 2\n```\n"
    assert list(blocks(text)) == [Block(2, 0, "x = 1\n"), Block(6, 3, "y = 2\n")]
    assert program(list(blocks(text))) == "\n\nx = 1\n\n\n\ny = 2\n"
    assert not list(blocks("<!-- illustrative: needs a GPU -->\n```python\nz\n```\n"))
    with pytest.raises(ValueError, match="known are"):
        list(blocks("<!-- mpirun -np 3 -->\n```python\nz\n```\n"))


def test_the_page_of_variables_is_what_the_code_says() -> None:
    path = ROOT / "docs" / "generate_environment.py"
    spec = importlib.util.spec_from_file_location("generate_environment", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text() == module.page(), "run python docs/generate_environment.py"
