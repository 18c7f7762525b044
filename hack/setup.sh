#!/bin/sh
# Builds .venv: `hack/setup.sh run` with what the sidecar needs, `hack/setup.sh dev` with the tools and tests too.
# PYTHON names the interpreter; without it the first Python >= 3.11 on the PATH is taken.
set -eu
cd "$(dirname "$0")/.."
purpose=${1:-dev}
wanted='import sys; sys.exit(sys.version_info < (3, 11))'

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$candidate" -c "$wanted" 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "${PYTHON:-python3} is no Python >= 3.11 ($("${PYTHON:-python3}" --version 2>&1 || true))." \
        "Install Python 3.11 or later, or name one: make setup PYTHON=/path/to/python3.13"
}

make_venv() {
    python=$(find_python) || exit 1 # `set -e` does not reach in here
    # Debian and Ubuntu deliver these two apart from Python.
    "$python" -c 'import venv, ensurepip' 2>/dev/null || fail \
        "$python has no venv module." \
        "On Debian or Ubuntu: apt install python3-venv (or python3.X-venv for python3.X). Then run this again."
    "$python" -m venv --clear .venv || fail "$python could not make .venv; its words are above."
}

# An environment whose interpreter is gone, too old, or without pip is of no use: make it again.
.venv/bin/python -c "$wanted" 2>/dev/null && .venv/bin/python -m pip --version >/dev/null 2>&1 || make_venv

case $purpose in
    run) project=. ;;
    dev) project='.[dev]' ;;
    *) fail "usage: hack/setup.sh run|dev" ;;
esac
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints-dev.txt -e "$project" ||
    fail "pip could not install the project; its words are above. Is a package index within reach?"
touch .venv/.run
[ "$purpose" = run ] || touch .venv/.dev
