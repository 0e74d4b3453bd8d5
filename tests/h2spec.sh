#!/usr/bin/env bash
# Lets h2spec judge the listener's HTTP/2, over TLS and in clear: the real binary, as a plain proxy before a small server.
# Prints its verdicts, and fails on a bad one that is not named below.
#
#   tests/h2spec.sh                       all cases (about a minute)
#   tests/h2spec.sh http2/6.5 hpack       some
#   H2SPEC=/path/to/h2spec …              with this one (default: the PATH's, else it is built with Go into target/h2spec)
#
# Where it is not there and cannot be built, this says so and fails: it is not part of tests/run.sh. Needs python3 and openssl.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/process.sh

MODULE=github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
# In clear a connection that begins with something else than HTTP/2's preface is one of HTTP/1.1, and is answered as such.
NOT_IN_CLEAR='Sends invalid connection preface'
UPSTREAM_PID= SIDESTREAM_PID=
WORK=

die() { printf '%s\n' "$*" >&2; exit 1; }

end() {
    [ -z "$SIDESTREAM_PID" ] || stop_process "$SIDESTREAM_PID" 10
    [ -z "$UPSTREAM_PID" ] || stop_process "$UPSTREAM_PID" 10
    [ -z "$WORK" ] || rm -rf "$WORK"
}

h2spec_find() {
    H2SPEC=${H2SPEC:-$(command -v h2spec || true)}
    [ -z "$H2SPEC" ] || return 0
    H2SPEC=$TARGET/h2spec/h2spec
    [ -x "$H2SPEC" ] && return 0
    command -v go >/dev/null || return 1
    echo "Building $MODULE into $TARGET/h2spec" >&2
    GOBIN=$TARGET/h2spec go install "$MODULE" >&2
}

# judge NAME PORT ALLOWED [OPTION ...]: runs the cases; those whose line has ALLOWED may fail.
judge() {
    local name=$1 port=$2 allowed=$3 bad
    shift 3
    # It exits with 1 when a case fails: which, is looked at below.
    "$H2SPEC" --host 127.0.0.1 --port "$port" --timeout 5 "$@" "${CASES[@]}" >"$WORK/$name.log" 2>&1 || true
    # Each failed case has a line that begins with this sign; the report names it once more at the end.
    bad=$(sed '/^Failures:/,$d' "$WORK/$name.log" | grep '×' || true)
    [ -z "$allowed" ] || bad=$(grep -v -- "$allowed" <<<"$bad" || true)
    printf '%-10s %s\n' "$name" "$(grep -E '^[0-9]+ tests,' "$WORK/$name.log" || echo 'no verdict')"
    if [ -n "$bad" ] || ! grep -qE '^[0-9]+ tests,' "$WORK/$name.log"; then
        cat "$WORK/$name.log"
        return 1
    fi
}

trap 'exit 130' INT
trap 'exit 143' TERM
trap end EXIT

h2spec_find || die 'h2spec is not on the PATH, and there is no Go to build it with: H2SPEC=/path/to/h2spec names one.'
command -v python3 >/dev/null || die 'python3 is needed, for the server behind.'
command -v openssl >/dev/null || die 'openssl is needed, for a certificate.'

cargo build --locked --bin sidestream
WORK=$(mktemp -d "${TMPDIR:-/tmp}/sidestream-h2spec.XXXXXX")
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost \
    -keyout "$WORK/tls.key" -out "$WORK/tls.crt" 2>/dev/null
mkdir "$WORK/served"
echo 'Hello.' >"$WORK/served/index.html"
python3 -u -m http.server --bind 127.0.0.1 --directory "$WORK/served" 0 >"$WORK/upstream.log" 2>&1 &
UPSTREAM_PID=$!
wait_for_line "$WORK/upstream.log" 'Serving HTTP' "$UPSTREAM_PID" 10 || die "no server behind: $(cat "$WORK/upstream.log")"
UPSTREAM=$(sed -n 's/.* port \([0-9]*\) .*/\1/p' "$WORK/upstream.log")

cat >"$WORK/sidestream.toml" <<TOML
[server]
listen = ["127.0.0.1:0"]
[server.tls]
listen = ["127.0.0.1:0"]
certificate = "$WORK/tls.crt"
key = "$WORK/tls.key"
[server.http2]
prior_knowledge = true
[upstream]
url = "http://127.0.0.1:$UPSTREAM"
[streams]
enabled = false
[admin]
listen = "127.0.0.1:0"
TOML
"$TARGET/debug/sidestream" --config "$WORK/sidestream.toml" 2>"$WORK/sidestream.log" &
SIDESTREAM_PID=$!
port_of() {
    wait_for_line "$WORK/sidestream.log" "listening.*$1" "$SIDESTREAM_PID" 20 >/dev/null || return 1
    grep -m 1 "listening.*$1" "$WORK/sidestream.log" | sed -n 's/.*127\.0\.0\.1:\([0-9]*\).*/\1/p'
}
CLEAR=$(port_of '"public"') || die "Sidestream did not start: $(cat "$WORK/sidestream.log")"
TLS=$(port_of '"tls"') || die "Sidestream did not start: $(cat "$WORK/sidestream.log")"

CASES=("$@")
failed=0
judge tls "$TLS" '' --tls --insecure || failed=1
judge clear "$CLEAR" "$NOT_IN_CLEAR" || failed=1
kill -0 "$SIDESTREAM_PID" || die "Sidestream has ended: $(tail -n 5 "$WORK/sidestream.log")"
exit $failed
