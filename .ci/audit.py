"""Ask for known holes in the packages that are installed: exit code 1 if there are any.

The advisory database is asked over the network. Where it does not answer, this says so, and fails only without
``--if-possible``: a machine without a network must not stop a change that is right.
"""

import json
import subprocess
import sys

COMMAND = ("--local", "--skip-editable", "--progress-spinner", "off", "--timeout", "20", "--format", "json")


def main() -> int:
    """Ask, tell, and give the exit code."""
    command = (sys.executable, "-m", "pip_audit", *COMMAND)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    packages = json.loads(done.stdout)["dependencies"] if done.stdout.strip() else []
    asked = [package for package in packages if "skip_reason" not in package]
    if not asked:
        trouble = "it knows none of the packages" if packages else done.stderr.strip() or "pip-audit said nothing"
        reason = trouble.splitlines()[-1][:300]
        print(f"audit: nothing was audited, the database did not answer: {reason}", file=sys.stderr)
        return 0 if "--if-possible" in sys.argv else 1
    for package in asked:
        for hole in package["vulns"]:
            better = ", ".join(hole["fix_versions"]) or "no release yet"
            print(f"{package['name']} {package['version']}: {hole['id']}, mended in {better}")
    holes = sum(len(package["vulns"]) for package in asked)
    print(f"audit: {holes} known holes in {len(asked)} of {len(packages)} packages that the database knows")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
