#!/bin/sh
# Tests the dashboard in a real headless Chromium. Installs the browser where it is absent and apt-get is there.
set -eu
cd "$(dirname "$0")"

say() { printf '%s\n' "dashboard: $*"; }

has_browser() {
    for program in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable; do
        if [ -n "$program" ] && command -v "$program" >/dev/null 2>&1; then
            say "the browser is $program"
            return 0
        fi
    done
    return 1
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_browser() {
    command -v apt-get >/dev/null 2>&1 || return 1
    say "installing chromium"
    as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium
}

if ! has_browser && ! { install_browser && has_browser; }; then
    # The test of the server runs without a browser; the test of the page skips itself.
    say "SKIPPED the page: there is no Chromium, and it could not be installed. Install it, or name it in CHROMIUM."
fi
exec cargo test --release --locked "$@" -- --nocapture
