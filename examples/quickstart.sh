#!/usr/bin/env bash
# Sidestream in front of a small legacy REST API, from nothing: builds, starts a MongoDB of its own, the API and
# Sidestream, loads the tutorial, and shows the live frames. Ctrl-C ends all of it and leaves no process and no file
# behind, but for what was built and fetched into target/.
#
#   examples/quickstart.sh
#   PORT=8085 examples/quickstart.sh         another port for Sidestream (default 8080)
#   ADMIN_PORT=8095 examples/quickstart.sh   a fixed port for its admin listener (default: a free one)
#   MONGOD=/path/to/mongod …                 this mongod (default: the one on the PATH, else one is fetched)
#
# Everything listens on 127.0.0.1 only. No root, no docker.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
. scripts/process.sh
. scripts/mongod.sh
. scripts/toolchain.sh

PORT=${PORT:-8080}
ADMIN_PORT=${ADMIN_PORT:-0}
TARGET=${CARGO_TARGET_DIR:-$PWD/target}
BASE=http://127.0.0.1:$PORT
WORK=
BUILD_PID= SIDESTREAM_PID= LEGACY_PID= WATCH_PID= SHOW_PID=

main() {
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
    trap end EXIT
    # Each background job gets a process group of its own: Ctrl-C reaches this script only, which ends them in order.
    # Each is disowned too, so that bash does not report its end: that is for this script to say.
    set -m
    check
    WORK=$(mktemp -d "${TMPDIR:-/tmp}/sidestream-quickstart.XXXXXX")
    build
    start
    load
    introduce
    watch
}

say() { printf '%s\n' "$*"; }
die() { printf '\n%s\n' "$*" >&2; exit 1; }

end() {
    # A second Ctrl-C must not leave half of it behind.
    trap '' INT TERM HUP
    set +e
    [ -z "$BUILD_PID$SIDESTREAM_PID$LEGACY_PID${MONGOD_PID:-}" ] || printf '\nEnding everything.\n'
    # cargo's whole group: its compilers would go on without it.
    [ -z "$BUILD_PID" ] || { kill -INT -- "-$BUILD_PID" && wait "$BUILD_PID"; } 2>/dev/null
    local pid
    # From the client's side inwards, so that none sees the one behind it vanish. Sidestream ends its streams itself.
    for pid in $SIDESTREAM_PID $WATCH_PID $SHOW_PID $LEGACY_PID; do
        stop_process "$pid" 10
    done
    mongod_stop
    [ -z "$WORK" ] || rm -rf "$WORK"
}

# ------------------------------------------------------------------------------------------------ what must be there

check() {
    toolchain_check || exit 1
    command -v curl >/dev/null || die "curl is needed, to load the tutorial: install it with your package manager."
    check_port PORT "$PORT"
    [ "$ADMIN_PORT" = 0 ] || check_port ADMIN_PORT "$ADMIN_PORT"
    mongod_find "$TARGET" || exit 1
}

check_port() {
    case $2 in
        '' | *[!0-9]*) die "$1=$2 is not a port." ;;
    esac
    [ "$2" -ge 1 ] && [ "$2" -le 65535 ] || die "$1=$2 is not a port."
    ! port_is_taken "$2" || die "Port $2 is taken by another program. Choose a free one: $1=$(free_port) examples/quickstart.sh"
}

# ------------------------------------------------------------------------------------------------ building, starting

build() {
    say 'Building (the first time takes a few minutes) …'
    # In the background, so that Ctrl-C is heard at once.
    cargo build --bin sidestream --example legacy-api --example replica-set </dev/null &
    BUILD_PID=$!
    wait "$BUILD_PID" || die 'The build failed; see above.'
    BUILD_PID=
}

start() {
    local examples=$TARGET/debug/examples
    say "Starting MongoDB ($MONGOD_BIN) …"
    mongod_start "$MONGOD_BIN" "$WORK/mongodb" "$examples/replica-set" || die 'MongoDB could not be started.'
    disown "$MONGOD_PID"

    say 'Starting the legacy API …'
    "$examples/legacy-api" --listen 127.0.0.1:0 --mongodb "$MONGOD_URI" </dev/null >"$WORK/legacy.log" 2>&1 &
    LEGACY_PID=$!
    disown "$LEGACY_PID"
    wait_for_line "$WORK/legacy.log" '^legacy-api listening on ' "$LEGACY_PID" 30 || failed 'The legacy API' legacy.log
    LEGACY=http://$(sed -n 's/^legacy-api listening on //p' "$WORK/legacy.log")

    say 'Starting Sidestream …'
    configure
    "$TARGET/debug/sidestream" --config "$WORK/sidestream.toml" </dev/null >"$WORK/sidestream.log" 2>&1 &
    SIDESTREAM_PID=$!
    disown "$SIDESTREAM_PID"
    wait_for_line "$WORK/sidestream.log" '"listener":"public"' "$SIDESTREAM_PID" 30 || failed Sidestream sidestream.log
    wait_for_line "$WORK/sidestream.log" '"listener":"admin"' "$SIDESTREAM_PID" 30 || failed Sidestream sidestream.log
    ADMIN=http://$(sed -n '/"listener":"admin"/s/.*"address":"\([^"]*\)".*/\1/p' "$WORK/sidestream.log" | head -n 1)
    wait_until_ready
}

# Secrets and ports stay inside the folder that goes when the script ends.
configure() {
    cat >"$WORK/sidestream.toml" <<TOML
[server]
listen = ["127.0.0.1:$PORT"]
drain = "3s"

[upstream]
url = "$LEGACY"

[mongodb]
uri = "$MONGOD_URI"
mounts = [{ where = "/", what = "/restheart" }]

[log]
format = "json"

[admin]
listen = "127.0.0.1:$ADMIN_PORT"
TOML
}

wait_until_ready() {
    local tries=150
    until curl -fsS -o /dev/null "$ADMIN/ready" 2>/dev/null; do
        kill -0 "$SIDESTREAM_PID" 2>/dev/null || failed Sidestream sidestream.log
        [ "$tries" -gt 0 ] || die "Sidestream is not ready: $(curl -sS "$ADMIN/ready")"
        tries=$((tries - 1))
        sleep 0.2
    done
}

failed() {
    printf '\n%s did not start. The end of its log:\n' "$1" >&2
    tail -n 10 "$WORK/$2" >&2
    exit 1
}

# ------------------------------------------------------------------------------------------------ the tutorial

load() {
    printf '\nLoading the tutorial through Sidestream:\n'
    request PUT /messages '{"streams": [
      {"uri": "all",  "stages": [{"_$match": {"_$or": [{"operationType": "insert"}, {"operationType": "update"}]}}]},
      {"uri": "mine", "stages": [{"_$match": {"fullDocument::name": {"_$var": "n"}}}]}]}'
    request POST /acl '{"_id": "unauthenticatedCanConnectToMyWebSocket", "roles": ["$unauthenticated"], "priority": 0,
      "predicate": "path-prefix('\''/messages/_streams/all'\'')"}'
}

request() {
    local status
    status=$(curl -sS -o "$WORK/answer" -w '%{http_code}' -u admin:secret -X "$1" -H 'Content-Type: application/json' \
        -d "$3" "$BASE$2") || die "$1 $2 was not answered."
    say "  $1 $2 → $status"
    case $status in
        2??) ;;
        *) die "$1 $2 was refused with $status: $(cat "$WORK/answer")" ;;
    esac
}

introduce() {
    cat <<TEXT

  Sidestream   $BASE
  legacy API   $LEGACY   (behind it)
  admin        $ADMIN   /health /ready /metrics /streams /upstreams
  MongoDB      $MONGOD_URI
  credentials  admin:secret

Try, in another terminal:

  # Say something; it appears below.
  curl -u admin:secret -H 'Content-Type: application/json' -d '{"message": "hi uji", "name": "uji"}' $BASE/messages

  # The same stream as a WebSocket (websocat: cargo install websocat). It is public: no credentials needed.
  websocat ws://127.0.0.1:$PORT/messages/_streams/all

  # Only what uji says. This one is not public.
  websocat 'ws://admin:secret@127.0.0.1:$PORT/messages/_streams/mine?n=uji'

  # … as Server-Sent Events.
  curl -N -u admin:secret -H 'Accept: text/event-stream' '$BASE/messages/_streams/mine?n=uji'

  # What the collection offers, and what is being served.
  curl -u admin:secret '$BASE/messages?rep=SHAL'
  curl $ADMIN/streams

Frames of /messages/_streams/all as they come. Ctrl-C ends everything.

TEXT
}

# ------------------------------------------------------------------------------------------------ live frames

watch() {
    listen
    if ! wait_for_line "$WORK/head" '^HTTP/1.1 200' "$WATCH_PID" 10; then
        cat "$WORK/watch.log" >&2
        die "The stream did not open: $(curl -sS -i -m 5 -H 'Accept: text/event-stream' "$BASE/messages/_streams/all")"
    fi
    curl -sS -o /dev/null -u admin:secret -H 'Content-Type: application/json' \
        -d '{"message": "hello from the quick start", "name": "quickstart"}' "$BASE/messages"
    stay
}

listen() {
    rm -f "$WORK/frames" "$WORK/head"
    mkfifo "$WORK/frames"
    while IFS= read -r line; do
        case $line in
            'event: close') printf '  the server closes: ' ;;
            'data: '*) printf '%s\n' "${line#data: }" ;;
            data:*) printf '  %s\n' "${line#data:}" ;;
        esac
    done <"$WORK/frames" &
    SHOW_PID=$!
    curl -sSN -D "$WORK/head" -H 'Accept: text/event-stream' "$BASE/messages/_streams/all" >"$WORK/frames" 2>"$WORK/watch.log" &
    WATCH_PID=$!
    disown "$SHOW_PID" "$WATCH_PID"
}

# Until Ctrl-C, or until one of them ends by itself.
stay() {
    while :; do
        kill -0 "$MONGOD_PID" 2>/dev/null || ended MongoDB mongodb/mongod.log
        kill -0 "$LEGACY_PID" 2>/dev/null || ended 'The legacy API' legacy.log
        kill -0 "$SIDESTREAM_PID" 2>/dev/null || ended Sidestream sidestream.log
        # The stream's definition was changed, as in the tutorial: the client comes back, as clients do.
        kill -0 "$WATCH_PID" 2>/dev/null || listen
        # `wait` is interrupted by a signal, a bare `sleep` would be waited for.
        sleep 1 &
        wait $! || true
    done
}

ended() {
    printf '\n%s has ended. The last lines of the log:\n' "$1" >&2
    tail -n 10 "$WORK/$2" >&2
    exit 1
}

main
