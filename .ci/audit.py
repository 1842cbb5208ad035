"""Report known vulnerabilities of the installed packages: exit code 1 if there are any.

The advisory database is queried over the network. Without an answer the last line says "not audited", and the exit
code is 1 unless ``--if-possible`` is given: a machine without a network must not block a correct change.
"""

import json
import subprocess
import sys

COMMAND = ("--local", "--skip-editable", "--progress-spinner", "off", "--timeout", "20", "--format", "json")


def main() -> int:
    """Run pip-audit, print what it found, and return the exit code."""
    command = (sys.executable, "-m", "pip_audit", *COMMAND)
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    packages = json.loads(done.stdout)["dependencies"] if done.stdout.strip() else []
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        error = "no package is in the database" if packages else done.stderr.strip() or "no output of pip-audit"
        print(f"audit: {error.splitlines()[-1][:300]}", file=sys.stderr)
        print("audit: not audited", file=sys.stderr)
        return 0 if "--if-possible" in sys.argv else 1
    for package in audited:
        for found in package["vulns"]:
            fixed = ", ".join(found["fix_versions"]) or "no release yet"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    count = sum(len(package["vulns"]) for package in audited)
    print(f"audit: {count} known vulnerabilities in {len(audited)} of {len(packages)} packages")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
