"""Which faults in the mathematics would the tests miss: mutation testing.

mutmut puts one small fault after another into the modules that pyproject.toml names, and runs the tests that pass
through the faulty function. A fault that no test sees survives; each survivor stands in the results with its reason
(`survivors.yaml`): most change nothing that can be observed. Half an hour on two idle cores; `--sample 200` draws
that many faults, seeded, and says so. A run that was stopped goes on where it was; `--only-read` reads what is there.
"""

import argparse
import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import yaml
from mutmut.__main__ import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from study import RESULTS, keep

ROOT = Path(__file__).parents[1]
REASONS = ROOT / "benchmarks/survivors.yaml"
SEEN = ("killed", "timeout", "suspicious", "segfault")
"""A fault that hangs or ends the program is seen as well."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, help="draw this many of all faults")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only-read", action="store_true", help="run nothing")
    options = parser.parse_args()
    names = []
    if options.sample and not options.only_read:
        if not statuses():
            mutmut(
                "run", "vagan.effect.x_difference__mutmut_1", "--max-children", "1"
            )  # the first run makes them all
        names = random.Random(options.seed).sample(sorted(statuses()), options.sample)
    if not options.only_read:
        mutmut("run", *names, "--max-children", str(options.processes))
    write(statuses())


def mutmut(*arguments: str) -> None:
    subprocess.run((sys.executable, "-m", "mutmut", *arguments), cwd=ROOT, check=True)


def statuses() -> dict[str, str]:
    """What became of each fault, by its name."""
    found = {}
    for path in sorted((ROOT / "mutants/src").rglob("*.meta")):
        codes = json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
        found |= {name: status_by_exit_code[code] for name, code in codes.items()}
    return found


def write(found: dict[str, str]) -> None:
    """Write the tables of modules and of survivors."""
    tried = {name: status for name, status in found.items() if status != "not checked"}
    modules = {}
    for name, status in tried.items():
        counts = modules.setdefault(module_of(name), Counter())
        counts["tried"] += 1
        counts["seen"] += status in SEEN
    survivors = [survivor(name) for name, status in tried.items() if status not in SEEN]
    result = {
        "faults": len(found),
        "tried": len(tried),
        "seen": sum(counts["seen"] for counts in modules.values()),
        "modules": {module: dict(counts) for module, counts in modules.items()},
        "survivors": survivors,
    }
    keep("mutants", result, report(result))
    print(f"{result['seen']} of {result['tried']} faults seen; see {RESULTS / 'mutants.md'}")


def module_of(name: str) -> str:
    return re.sub(r"\.x[^.]*$", "", name)


def survivor(name: str) -> dict[str, str]:
    """What was changed, and why no test sees it."""
    lines = get_diff_for_mutant(name).splitlines()[2:]  # after the names of the files
    before, after = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
    function = re.sub(r".*\.x_?|__mutmut_\d+$", "", name).strip("ǁ").replace("ǁ", ".")
    reasons = yaml.safe_load(REASONS.read_text(encoding="utf-8"))
    reason = reasons.get(f"{module_of(name)}.{function}", {}).get(after, "")
    return {"module": module_of(name), "function": function, "before": before, "after": after, "reason": reason}


def report(result: dict) -> str:
    lines = ["| module | faults tried | seen by the tests |", "|---|---|---|"]
    for module, counts in result["modules"].items():
        lines.append(f"| `{module}` | {counts['tried']} | {counts['seen'] / counts['tried']:.0%} |")
    lines.append(f"| all | {result['tried']} of {result['faults']} | {result['seen'] / result['tried']:.1%} |")
    if result["tried"] < result["faults"]:
        lines += ["", "Not all were tried: those of a seeded draw that the run came to, the quickest first."]
    lines += ["", "Faults that no test sees:", "", "| function | instead of | faulty | why |", "|---|---|---|---|"]
    for found in result["survivors"]:
        cells = (f"`{found['function']}`", f"`{found['before']}`", f"`{found['after']}`", found["reason"] or "open")
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
