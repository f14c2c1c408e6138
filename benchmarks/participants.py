"""Processes that each run one workload with one library when told to, and what came of them."""
from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path


class Failed(Exception):
    """A participant that cannot go on, and why."""


@dataclass
class Participant:
    """One library's process for one workload."""
    name: str
    command: list[str]
    environment: dict[str, str]
    limit_s: float
    seconds: list[float] = field(default_factory=list)
    ready: dict = field(default_factory=dict)
    end: dict = field(default_factory=dict)
    problem: dict = field(default_factory=dict)
    start_s: float = 0.0

    def start(self) -> None:
        """Starts the process and waits until its inputs are made."""
        self._errors = tempfile.TemporaryFile()
        begin = time.perf_counter()
        self._process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._errors, env=self.environment, start_new_session=True)
        self._rest = b""
        self.ready = self._answer(begin + self.limit_s)
        self.start_s = time.perf_counter() - begin

    def run(self) -> float:
        """Runs the workload once; its seconds."""
        self._say("run")
        self.seconds.append(self._answer(time.perf_counter() + self.limit_s)["seconds"])
        return self.seconds[-1]

    def finish(self, results: list | None = None) -> None:
        """Asks for what came out; the process ends."""
        self._say("end" if results is None else "end " + json.dumps(results))
        self.end = self._answer(time.perf_counter() + self.limit_s)
        self._process.wait(timeout=self.limit_s)

    def stop(self) -> None:
        """Ends the process if it still runs."""
        process = getattr(self, "_process", None)
        if process is None:
            return
        if process.poll() is None:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
        for pipe in (process.stdin, process.stdout, self._errors):
            try:
                pipe.close()
            except BrokenPipeError:
                pass

    def _say(self, words: str) -> None:
        try:
            self._process.stdin.write(words.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise Failed({"error": self._last_words()}) from error

    def _answer(self, until: float) -> dict:
        """The next line, as JSON."""
        out = self._process.stdout
        with selectors.DefaultSelector() as waiting:
            waiting.register(out, selectors.EVENT_READ)
            while b"\n" not in self._rest:
                if not waiting.select(max(0.0, until - time.perf_counter())):
                    raise Failed({"error": f"took more than {self.limit_s:g} s"})
                piece = os.read(out.fileno(), 1 << 16)
                if not piece:
                    raise Failed({"error": self._last_words()})
                self._rest += piece
        line, _, self._rest = self._rest.partition(b"\n")
        answer = json.loads(line)
        if "skipped" in answer or "error" in answer:
            raise Failed({key: answer[key] for key in ("skipped", "error") if key in answer})
        return answer

    def _last_words(self) -> str:
        status = self._process.wait()
        self._errors.seek(0)
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"ended with status {status}" if status >= 0 else f"ended by signal {-status}"
        return how + (": " + words[-1][:300] if words else "")


def guarded(participant: Participant, call) -> bool:
    """Whether a step succeeded; what failed ends that participant alone."""
    if participant.problem:
        return False
    try:
        call()
        return True
    except Failed as failure:
        participant.problem = failure.args[0]
    except Exception as error:  # a broken answer is that library's failure, too
        participant.problem = {"error": f"{type(error).__name__}: {error}"}
    participant.stop()
    return False


@dataclass
class Effort:
    """How long each library is run."""
    repetitions: int
    budget_s: float  # of one library in one workload, after its first run


# Their first run compiles, and says nothing of how long the next one takes.
COMPILED = ("jax", "torch")


def may_go_on(participant: Participant, effort: Effort) -> bool:
    """Whether another repetition is due: a first run beyond the budget is the only one."""
    first, *later = participant.seconds
    long = first >= effort.budget_s and participant.name not in COMPILED
    return not long and sum(later) < effort.budget_s


def take_turns(participants: list[Participant], effort: Effort) -> None:
    """One warm-up each, then repetitions in turns. The order changes from turn to turn."""
    for participant in participants:
        guarded(participant, participant.run)
    for turn in range(effort.repetitions):
        shift = turn % max(1, len(participants))
        for participant in participants[shift:] + participants[:shift]:
            if not participant.problem and may_go_on(participant, effort):
                guarded(participant, participant.run)


def record_of(participant: Participant) -> dict:
    """What the results keep of a participant."""
    record = dict(participant.problem)
    if participant.seconds:
        record["first_seconds"] = participant.seconds[0]
        # A run that used up its budget at once stands for itself.
        record["seconds"] = participant.seconds[1:] or participant.seconds
    for key in ("peak_bytes", "tasks", "spilled_bytes", "disk_bytes"):
        if key in participant.end:
            record[key] = participant.end[key]
    if "resident_bytes" in participant.ready:
        record["resident_bytes"] = participant.ready["resident_bytes"]
    return record


def distance(ours: dict, theirs: dict) -> float:
    """How far a result is from ours, as a part of what is allowed: at most 1 is equal."""
    a, b = ours["sample"], theirs["sample"]
    if len(a) != len(b) or [n for n in ours["shape"] if n != 1] != [n for n in theirs["shape"] if n != 1]:
        return float("inf")
    if any(not isinstance(v, (int, float)) for v in a + b):
        return float("inf")
    largest = max((abs(v) for v in a), default=0.0)
    allowed = ours["relative"] * largest + ours["absolute"]
    far = max((abs(x - y) for x, y in zip(a, b)), default=0.0)
    if far != far:
        return float("inf")
    return far / allowed if allowed > 0 else (0.0 if far == 0 else float("inf"))


def compare_results(ours: list, theirs: list) -> dict:
    """Whether another library's results equal ours within the workload's tolerance."""
    if len(ours) > len(theirs):
        return {"equal": False, "distance": None}
    parts = [distance(a, b) for a, b in zip(ours, theirs) if a and b]
    furthest = max(parts, default=float("inf"))
    return {"equal": furthest <= 1.0, "distance": furthest if furthest != float("inf") else None}


def available_memory() -> int:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 1 << 30
