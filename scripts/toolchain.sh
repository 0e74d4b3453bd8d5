# Is what the build needs here? To be sourced by bash.

toolchain_check() {
    if ! command -v cargo >/dev/null; then
        echo 'A Rust toolchain is needed: https://rustup.rs installs one without root.' >&2
        return 1
    fi
    toolchain_has_compiler && return 0
    # The one thing here that only root can bring.
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev >&2
    fi
    toolchain_has_compiler && return 0
    echo 'A C compiler is needed for the build: install gcc or clang (Debian, Ubuntu: apt-get install build-essential).' >&2
    return 1
}

toolchain_has_compiler() {
    command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null
}
