"""The mutation check: `python -m tests.mutants [NAME...]` kills every mutant, or exits with 1.

Each mutant is a copy of the sources with one line changed; its named tests must fail there, every
one of them, as they must pass on an unchanged copy. A copy that hangs is killed too.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("src", "tests", "pyproject.toml")
AT_ONCE = 2
MUTANT_SECONDS = 60
TEST_SECONDS = 15
"""A test that takes longer than this has failed; unchanged, the named ones take under four."""
BASELINE_SECONDS = 600
PASSED, FAILED = 0, 1
_FAILURE = re.compile(r"^(?:FAILED|ERROR) (\S+?)(?:\[| |$)", re.MULTILINE)
_SKIPPED = shutil.ignore_patterns("__pycache__", ".hypothesis")


class Outcome(NamedTuple):
    """What the tests said about one copy; `code` is None where they did not end in time."""

    code: int | None
    failed: frozenset[str]
    seconds: float
    text: str


@contextmanager
def copy_of_sources() -> Iterator[Path]:
    """A folder with the sources and tests, for as long as it is needed."""
    with tempfile.TemporaryDirectory(prefix="aiki-mutant-") as name:
        folder = Path(name).resolve()
        for item in COPIED:
            source = ROOT / item
            if source.is_dir():
                shutil.copytree(source, folder / item, ignore=_SKIPPED)
            else:
                shutil.copy2(source, folder / item)
        yield folder


def apply(mutant: Mutant, folder: Path) -> None:
    """Change the one line."""
    file = folder / "src" / "aiki" / mutant.file
    text = file.read_text()
    if text.count(mutant.old) != 1:
        raise SystemExit(f"{mutant.name}: its old text is not in {mutant.file} exactly once")
    file.write_text(text.replace(mutant.old, mutant.new))


def environment(folder: Path) -> dict[str, str]:
    """The copy goes before the installed package; the mode of the suite is the usual one."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("AIKI_")}
    return kept | {"PYTHONPATH": os.pathsep.join((str(folder / "src"), str(folder)))}


def run_tests(folder: Path, tests: Iterable[str], seconds: float) -> Outcome:
    """The named tests, in a process group of their own."""
    options = ["-q", "-rfE", "--tb=no", f"--timeout={TEST_SECONDS}", "-p", "no:cacheprovider"]
    # It imports modules at the end, which Python 3.11 may fail to compile after a time-out.
    options += ["-p", "no:schemathesis"]
    command = [sys.executable, "-m", "pytest", "-p", "tests.mutants.guard", *options, *tests]
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    code: int | None = None
    try:
        text, _ = process.communicate(timeout=seconds)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        text, _ = process.communicate()
    return Outcome(code, frozenset(_FAILURE.findall(text)), time.monotonic() - begun, text)


def judge(mutant: Mutant, outcome: Outcome) -> str:
    """`killed`, `survived` and by whom it was overlooked, or `broken` where nothing was tested."""
    if outcome.code is None:
        return "killed (hangs)"
    if outcome.code not in (PASSED, FAILED):
        return "broken: " + outcome.text.strip().rpartition("\n")[2]
    missed = [test for test in mutant.killers if test not in outcome.failed]
    return f"survived {', '.join(missed)}" if missed else "killed"


def check(mutant: Mutant) -> bool:
    """Whether every named test notices it; a line of the table is printed."""
    with copy_of_sources() as folder:
        apply(mutant, folder)
        outcome = run_tests(folder, mutant.killers, MUTANT_SECONDS)
    verdict = judge(mutant, outcome)
    print(f"{mutant.name:34} {mutant.file:28} {outcome.seconds:5.1f} s  {verdict}", flush=True)
    return verdict.startswith("killed")


def unchanged_passes(mutants: Sequence[Mutant]) -> bool:
    """Whether the named tests pass on an unchanged copy."""
    tests = sorted({test for mutant in mutants for test in mutant.killers})
    with copy_of_sources() as folder:
        outcome = run_tests(folder, tests, BASELINE_SECONDS)
    if outcome.code != PASSED:
        print(outcome.text)
        return False
    print(f"{len(tests)} named tests pass on unchanged sources ({outcome.seconds:.0f} s)")
    return True


def main(names: Sequence[str]) -> int:
    """The exit code: 0 when all that were asked for are killed."""
    unknown = set(names) - {mutant.name for mutant in MUTANTS}
    if unknown:
        print(f"no mutant {', '.join(sorted(unknown))}")
        return 2
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    if not unchanged_passes(chosen):
        return 1
    with ThreadPoolExecutor(AT_ONCE) as pool:
        killed = list(pool.map(check, chosen))
    print(f"{sum(killed)} of {len(killed)} mutants killed")
    return 0 if all(killed) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
