#!/usr/bin/env bash
# Lets the Autobahn testsuite judge the WebSocket sessions: examples/ws_echo, which echoes through the session room of
# streams, against every case of the suite, those of permessage-deflate (12 and 13) too. Prints a table of its verdicts, and fails on a bad one.
#
#   tests/autobahn.sh                     all cases (a quarter of an hour)
#   tests/autobahn.sh '1.*' '5.19'        some
#   PYTHON2=/path/to/python2.7 …          with this Python (default: the PATH's, or pyenv's)
#
# The suite runs on Python 2.7 only, and is fetched from PyPI once into target/autobahn. Where there is no Python 2.7, or
# the suite cannot be installed, this says so and fails: it is not part of tests/run.sh. The reports, with each frame that
# was sent, stay in target/autobahn/reports.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/process.sh

SUITE='autobahntestsuite==25.10.1'
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
# Where `pip install --user` puts things. Not `--target`: the suite needs a namespace package, and so .pth files.
export PYTHONUSERBASE=$TARGET/autobahn
# Nothing of the user's own settings and packages.
export PYTHONNOUSERSITE= PYTHONPATH=
ECHO_PID=
WORK=

die() { printf '%s\n' "$*" >&2; exit 1; }

end() {
    [ -z "$ECHO_PID" ] || stop_process "$ECHO_PID" 10
    [ -z "$WORK" ] || rm -rf "$WORK"
}

python2_find() {
    local candidate version
    local candidates=("${PYTHON2:-}" "$(command -v python2.7 || true)" "$(command -v python2 || true)" "$(command -v pypy || true)")
    # A shim of pyenv's is on the PATH, but runs only what is chosen: so its versions are asked for.
    if command -v pyenv >/dev/null; then
        for version in $(pyenv versions --bare 2>/dev/null | grep -E '^(2\.7|pypy2\.7)' || true); do
            candidates+=("$(pyenv prefix "$version")/bin/python")
        done
    fi
    for candidate in "${candidates[@]}"; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
            PYTHON2=$candidate
            return 0
        fi
    done
    return 1
}

suite_is_there() {
    "$PYTHON2" -c 'import autobahntestsuite' >/dev/null 2>&1 && [ -x "$PYTHONUSERBASE/bin/wstest" ]
}

suite_install() {
    suite_is_there && return 0
    echo "Fetching $SUITE into $PYTHONUSERBASE" >&2
    "$PYTHON2" -m pip install --quiet --disable-pip-version-check --no-warn-script-location --user "$SUITE" >&2 || return 1
    suite_is_there
}

trap 'exit 130' INT
trap 'exit 143' TERM
trap end EXIT

python2_find || die 'The Autobahn testsuite needs Python 2.7, and none was found: PYTHON2=/path/to/python2.7 names one.'
suite_install || die "The Autobahn testsuite cannot be installed for $PYTHON2: it needs pip, PyPI, and a C compiler with Python's headers."

cargo build --locked --example ws_echo
WORK=$(mktemp -d "${TMPDIR:-/tmp}/sidestream-autobahn.XXXXXX")
"$TARGET/debug/examples/ws_echo" 127.0.0.1:0 2>"$WORK/echo.log" &
ECHO_PID=$!
wait_for_line "$WORK/echo.log" 'listening' "$ECHO_PID" 10 || die "ws_echo did not start: $(cat "$WORK/echo.log")"
ADDRESS=$(sed -n 's/.*listening.*address=\([0-9.:]*\).*/\1/p' "$WORK/echo.log")

REPORTS=$PYTHONUSERBASE/reports
rm -rf "$REPORTS"
[ $# -gt 0 ] || set -- '*'
"$PYTHON2" - "$ADDRESS" "$REPORTS" "$@" >"$WORK/spec.json" <<'PYTHON'
import json, sys

address, reports, cases = sys.argv[1], sys.argv[2], sys.argv[3:]
json.dump({
    "outdir": reports,
    "servers": [{"agent": "Sidestream", "url": "ws://%s/any/path" % address}],
    "cases": cases,
    "exclude-cases": [],
}, sys.stdout)
PYTHON
"$PYTHON2" "$PYTHONUSERBASE/bin/wstest" --mode fuzzingclient --spec "$WORK/spec.json" >"$WORK/suite.log" 2>&1 ||
    die "The suite failed: $(tail -n 20 "$WORK/suite.log")"
kill -0 "$ECHO_PID" || die "ws_echo has ended: $(tail -n 5 "$WORK/echo.log")"

"$PYTHON2" - "$REPORTS/index.json" <<'PYTHON'
import collections, json, sys

# Cases that may be NON-STRICT, each with the reason.
NON_STRICT = {}

with open(sys.argv[1]) as file:
    cases = json.load(file)["Sidestream"]
by_family, bad, notes = {}, [], []
for name in sorted(cases, key=lambda name: [int(part) for part in name.split(".")]):
    family = name.split(".")[0]
    verdict, close = cases[name]["behavior"], cases[name]["behaviorClose"]
    by_family.setdefault(int(family), collections.Counter())[verdict] += 1
    good = verdict in ("OK", "INFORMATIONAL")
    if verdict == "NON-STRICT" and name in NON_STRICT:
        notes.append("%s is NON-STRICT: %s" % (name, NON_STRICT[name]))
        good = True
    if not good or close not in ("OK", "INFORMATIONAL"):
        bad.append("%s: %s, its close %s" % (name, verdict, close))

verdicts = ["OK", "NON-STRICT", "INFORMATIONAL", "UNIMPLEMENTED", "FAILED"]
others = set(verdict for counts in by_family.values() for verdict in counts) - set(verdicts)
verdicts += sorted(others)
print("family " + " ".join("%14s" % verdict for verdict in verdicts))
for family, counts in sorted(by_family.items()):
    print("%6d " % family + " ".join("%14d" % counts[verdict] for verdict in verdicts))
for note in notes:
    print(note)
if not cases:
    sys.exit("The suite ran no case.")
if bad:
    sys.exit("\n".join(bad))
print("%d cases, none of them bad." % len(cases))
PYTHON
