#!/usr/bin/env python3
"""Runs every ```cpp and ```sh block of README.md and docs/*.md, and fails when one fails.

A cpp block with a main is built as it stands; one without becomes the body of a main behind
`#include <tessera/tessera.hpp>` and `namespace ts = tessera`. Programs run in an empty folder of their
own. An sh block runs under `bash -eu` in the root of the tree, with the built `tessera` command on
PATH; $OUT is an empty folder for what it writes. A block that cannot be run says so and why:

    ```sh no-run: needs root

Lines in the output of one block do not count, only its exit status. Exits 77 (skipped) without blocks.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SKIPPED = 77
TIMEOUT_S = 300
FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>`{3,})(?P<info>[^`]*)$")


class Block:
    """One fenced block: where it stands, its language, why it is not run (or None), and its lines."""

    def __init__(self, place, language, reason, text):
        self.place, self.language, self.reason, self.text = place, language, reason, text


def blocks_of(name, text):
    """The cpp and sh blocks of a Markdown text. Raises ValueError for a fence that breaks the rules."""
    found, opened = [], None
    for number, line in enumerate(text.splitlines(), 1):
        match = FENCE.match(line)
        if opened is None:
            if match:
                opened = (number, match, [])
        elif match and not match["info"].strip() and len(match["ticks"]) >= len(opened[1]["ticks"]):
            found.extend(make_block(name, *opened))
            opened = None
        else:
            indent = opened[1]["indent"]
            opened[2].append(line[len(indent):] if line.startswith(indent) else line.lstrip())
    if opened:
        raise ValueError(f"{name}:{opened[0]}: this fence is never closed")
    return found


def make_block(name, number, match, lines):
    language, _, rest = match["info"].strip().partition(" ")
    if language not in ("cpp", "sh"):
        return
    reason = None
    if rest.strip():
        reason = re.fullmatch(r"no-run:\s*(\S.*)", rest.strip())
        if not reason:
            raise ValueError(f'{name}:{number}: what follows ```{language} is "no-run: <reason>"; got "{rest}"')
        reason = reason[1]
    yield Block(f"{name}:{number}", language, reason, "\n".join(lines) + "\n")


def complete_program(text):
    """The text itself when it has a main, otherwise a program whose main it is."""
    if re.search(r"\bint\s+main\s*\(", text):
        return text
    includes = [line for line in text.splitlines() if line.lstrip().startswith("#include")]
    body = [line for line in text.splitlines() if not line.lstrip().startswith("#include")]
    head = ["#include <iostream>", "#include <tessera/tessera.hpp>", *includes,
            "namespace ts = tessera;", "int main() {"]
    return "\n".join([*head, *body, "}"]) + "\n"


def run(command, folder, environment):
    """None when the command succeeds, otherwise what it said."""
    try:
        done = subprocess.run(command, cwd=folder, env=environment, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              check=False)
    except subprocess.TimeoutExpired:
        return f"still running after {TIMEOUT_S} s"
    return None if done.returncode == 0 else f"exit status {done.returncode}\n{done.stdout[-6000:]}"


def run_cpp(block, options):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "block.cpp").write_text(complete_program(block.text), encoding="utf-8")
        compile_line = [options.cxx, "-std=c++20", "-O1", "block.cpp", "-o", "block",
                        "-I", f"{options.source}/include", "-I", options.include,
                        "-L", options.lib, "-ltessera", f"-Wl,-rpath,{options.lib}", "-pthread"]
        problem = run(compile_line, folder, os.environ)
        return problem or run(["./block"], folder, os.environ)


def run_sh(block, options):
    with tempfile.TemporaryDirectory() as out:
        environment = {**os.environ, "PATH": f"{options.bin}:{os.environ['PATH']}", "OUT": out}
        return run(["bash", "-euc", block.text], options.source, environment)


def main():
    parser = argparse.ArgumentParser()
    for option in ("source", "bin", "lib", "include", "cxx"):
        parser.add_argument(f"--{option}", required=True)
    options = parser.parse_args()
    root = Path(options.source)
    blocks = []
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        if path.exists():
            blocks += blocks_of(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
    left_out = [b for b in blocks if b.reason]
    programs = [b for b in blocks if b.language == "cpp" and not b.reason]
    scripts = [b for b in blocks if b.language == "sh" and not b.reason]
    for block in left_out:
        print(f"not run  {block.place}: {block.reason}")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(zip(programs, pool.map(lambda b: run_cpp(b, options), programs)))
    # One after another: scripts may build, and may use all cores themselves.
    problems += [(block, run_sh(block, options)) for block in scripts]
    failed = 0
    for block, problem in problems:
        print(f"{'FAILED' if problem else 'ok':8} {block.place} ({block.language})")
        if problem:
            failed += 1
            print(problem)
    print(f"{len(problems)} blocks run, {failed} failed, {len(left_out)} left out")
    return 1 if failed else 0 if problems else SKIPPED


if __name__ == "__main__":
    sys.exit(main())
