"""Looks every locked version up among the known vulnerabilities: a line a lock, then one in all.

    python requirements/vulnerabilities.py [LOCK ...] [--service pypi|osv] [--program PIP_AUDIT]

pip-audit does it, and asks that service over the network. It ends well too where the service knows
none of the packages, as a mirror that has no vulnerabilities does not; here that is no pass.

Exit code 0: all were looked up, and nothing is known of them. 1: something is known. 3: nothing is
known of those that were looked up, but some could not be.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
LOCKS = [
    one.relative_to(ROOT)
    for folder in ("requirements", "tests/clients/requirements")
    for one in sorted((ROOT / folder).glob("*.txt"))
]
KNOWN, NOT_LOOKED_UP = 1, 3


class Looked(NamedTuple):
    """What is known of the packages of a lock.

    Attributes:
        safe: How many were looked up without a find.
        known: What was found, a line for each vulnerability.
        missed: Why the others could not be looked up, a line for each; one where none could.
    """

    safe: int
    known: list[str]
    missed: list[str]


def look_up(lock: Path, service: str, program: str) -> Looked:
    """Have pip-audit look up what a lock pins.

    Raises:
        OSError: There is no such program.
    """
    command = [program, "--format", "json", "--desc", "off", "--progress-spinner", "off"]
    command += ["--vulnerability-service", service, "--no-deps", "--disable-pip"]
    command += ["--requirement", str(lock)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        said = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        return Looked(0, [], [f"pip-audit failed: {said[-1]}"])
    return Looked(
        safe=sum(one.get("vulns") == [] for one in packages),
        known=[
            f"{one['name']} {one['version']}: {', '.join([known['id'], *known['aliases']])}, "
            f"mended in {', '.join(known['fix_versions']) or 'no version yet'}"
            for one in packages
            for known in one.get("vulns", [])
        ],
        missed=[one["skip_reason"] for one in packages if "skip_reason" in one],
    )


def tell(lock: Path, looked: Looked) -> None:
    """Print what is known of a lock's packages."""
    told = [f"nothing is known of {looked.safe} packages"] if looked.safe else []
    told += [f"{len(looked.known)} known vulnerabilities"] if looked.known else []
    if looked.missed:
        more = f" (and {len(looked.missed) - 1} more)" if len(looked.missed) > 1 else ""
        told.append(f"not looked up: {looked.missed[0]}{more}")
    print(f"{lock}: {'; '.join(told)}", *looked.known, sep="\n  ", flush=True)


def main() -> int:
    """Look up the locks that the command line names."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("locks", nargs="*", type=Path, metavar="LOCK", help="all, unless named")
    options.add_argument("--service", choices=("pypi", "osv"), default="pypi")
    options.add_argument("--program", default="pip-audit", metavar="PIP_AUDIT")
    asked = options.parse_args()
    known = missed = 0
    for lock in asked.locks or LOCKS:
        try:
            looked = look_up(lock, asked.service, asked.program)
        except OSError as error:
            options.error(f"{asked.program!r} is not there: {error}; `make audit` installs it")
        tell(lock, looked)
        known += len(looked.known)
        missed += len(looked.missed)
    if known:
        print(f"{known} known vulnerabilities")
        return KNOWN
    if missed:
        print(
            "Not everything could be looked up, which says nothing of it. Run this where the "
            f"network reaches the vulnerabilities that {asked.service} has, or try the other "
            "--service"
        )
        return NOT_LOOKED_UP
    print("Nothing is known of what the locks pin")
    return 0


if __name__ == "__main__":
    sys.exit(main())
