# Ports, waiting, ending: what the scripts here share. To be sourced by bash (3.2 and later).

# Whether something listens on this port of loopback.
port_is_taken() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Prints a port of loopback on which nothing listens.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        port_is_taken "$port" || break
    done
    echo "$port"
}

# wait_for_line FILE PATTERN PID SECONDS: until FILE has a line with PATTERN; fails at once when the process PID ends.
wait_for_line() {
    local file=$1 pattern=$2 pid=$3 tries=$(($4 * 10))
    while [ "$tries" -gt 0 ]; do
        grep -q -- "$pattern" "$file" 2>/dev/null && return 0
        kill -0 "$pid" 2>/dev/null || return 1
        sleep 0.1
        tries=$((tries - 1))
    done
    return 1
}

# stop_process PID SECONDS: asks a child to end, waits, and insists when it has not ended by then.
stop_process() {
    local pid=$1 tries=$(($2 * 10))
    kill -TERM "$pid" 2>/dev/null || return 0
    while kill -0 "$pid" 2>/dev/null && [ "$tries" -gt 0 ]; do
        sleep 0.1
        tries=$((tries - 1))
    done
    if kill -KILL "$pid" 2>/dev/null; then
        echo "process $pid did not end by itself, and was killed" >&2
    fi
    wait "$pid" 2>/dev/null || true
}
