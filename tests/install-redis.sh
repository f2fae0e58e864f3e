#!/bin/sh
# Installs the server that the tests, the examples and the benches start themselves; does nothing if there is one.
set -eu

say() { printf '%s\n' "install-redis: $*"; }
fail() {
    printf '%s\n' "install-redis: $*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif has sudo; then
        sudo "$@"
    else
        fail "cannot install without being root, and there is no sudo"
    fi
}

find_server() {
    for program in redis-server valkey-server; do
        if has "$program"; then
            command -v "$program"
            return 0
        fi
    done
    return 1
}

# The tests would start nothing but this program: another one would not help.
if [ -n "${REDIS_SERVER_BIN:-}" ]; then
    has "$REDIS_SERVER_BIN" || fail "REDIS_SERVER_BIN is $REDIS_SERVER_BIN, which is no program that can be run"
    say "REDIS_SERVER_BIN is $REDIS_SERVER_BIN, nothing to do"
    exit 0
fi

if server=$(find_server); then
    say "$server is there, nothing to do"
    exit 0
fi

if has apt-get; then
    as_root apt-get update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server
    # The package starts a server on port 6379, which nobody here needs. Where that fails, it does no harm either.
    if [ -d /run/systemd/system ]; then
        as_root systemctl disable --now redis-server || say "the service redis-server could not be stopped"
    fi
elif has dnf; then
    # Newer releases have only the one, older ones only the other.
    as_root dnf install -y valkey || as_root dnf install -y redis
elif has apk; then
    as_root apk add --no-cache redis
elif has brew; then
    brew install redis
else
    fail "found none of apt-get, dnf, apk and brew: install redis-server or valkey-server, or name its path in REDIS_SERVER_BIN"
fi

server=$(find_server) || fail "installed, but neither redis-server nor valkey-server is on PATH"
say "installed $server"
