"""``python -m chaos.seeds``: what each state of the product has survived.

``replay SEED`` runs a seed of ``found.txt`` with the code in which it found something: in a
checkout of that commit, beside this one. Exit code 0 if it is found again.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from chaos.seeds.code import PRODUCT, ROOT, UnknownCode, code_of_commit
from chaos.seeds.found import Finding, known_findings
from chaos.seeds.ledger import LEDGER, read_ledger, sums


def _print_sums() -> int:
    try:
        here = code_of_commit().product
    except UnknownCode:
        here = ""
    for total in sums(read_ledger(LEDGER.read_text())):
        mark = f"  <- {PRODUCT}/ as it is here" if total.product == here else ""
        print(f"{PRODUCT}/ {total.product}, commits {', '.join(total.commits)}{mark}")
        print(
            f"    {total.seeds} seeds, {total.largest} in one run, {total.events} events, "
            f"{total.acked} acked; {total.failed} seeds failed, {total.missing} marks not reached"
        )
    return 0


def _replay(finding: Finding) -> int:
    """Run a seed at its commit; that it fails is what is wanted."""
    with tempfile.TemporaryDirectory(prefix="raftlog-replay-") as parent:
        tree = Path(parent) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), finding.commit], check=True)
        try:
            # The directory of a module that is run comes first where modules are looked for.
            done = subprocess.run(
                [sys.executable, "-m", "chaos.sim", "--seed", str(finding.seed)],
                cwd=tree,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)
    failures = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    print("\n".join(failures) or f"seed {finding.seed} fails at {finding.commit} no more")
    if done.stderr:
        print(done.stderr, file=sys.stderr)
    return 0 if any(f": {finding.invariant}" in line for line in failures) else 1


def main() -> int:
    """Do what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos.seeds", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("replay").add_argument("seed", type=int)
    options = parser.parse_args()
    if options.command is None:
        return _print_sums()
    wanted = [finding for finding in known_findings() if finding.seed == options.seed]
    if not wanted:
        print(f"seed {options.seed} is not in found.txt", file=sys.stderr)
        return 2
    return max(_replay(finding) for finding in wanted)


if __name__ == "__main__":
    sys.exit(main())
