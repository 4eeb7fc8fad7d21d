#!/bin/sh
# Prints the first Python that runs and can make a virtual environment for
# this book (3.11 to 3.13), or says in one line what is missing.
# Usage: tools/find_python.sh [CANDIDATE...]
probe='import sys
sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else 3)'
[ $# -gt 0 ] || set -- python3.11 python3.12 python3.13 python3 python
wrong=''
for candidate in "$@"; do
    "$candidate" -c "$probe" >/dev/null 2>&1
    code=$?
    if [ $code -eq 3 ]; then
        found=$("$candidate" -c 'import platform
print(platform.python_version())')
        wrong="$wrong; $candidate is Python $found"
    elif [ $code -ne 0 ]; then
        wrong="$wrong; $candidate does not run"
    elif "$candidate" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        echo "$candidate"
        exit 0
    else
        wrong="$wrong; $candidate lacks the venv module (Debian and Ubuntu: install the package python3-venv)"
    fi
done
echo "This book needs Python 3.11, 3.12 or 3.13 (choose one with PY=...)${wrong}." >&2
exit 1
