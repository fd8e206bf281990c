# Sourced by ./deploy/quickstart and ./deploy/check: installs what is missing, and says so. Standard output stays free.
# shellcheck shell=bash

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$top/.venv
setup_log=$(mktemp -t sipgate-setup.XXXXXX.log)

say() { printf '%s\n' "$*" >&2; }
fail() { say "failed: $*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "$1 needs root: run this as root, or install sudo"
    fi
}

# install_quietly NAME ...: as root, without a question, and without a service of theirs that runs now or at the next boot:
# tests start what they need themselves. A policy-rc.d that is there already is the machine's own, and stays.
install_quietly() {
    local policy=/usr/sbin/policy-rc.d own='' status=0 unit
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && own=$policy
    fi
    apt-get update && apt-get install -y --no-install-recommends "$@" || status=$?
    [ -z "$own" ] || rm -f "$own"
    [ "$status" = 0 ] || return "$status"
    command -v systemctl >/dev/null || return 0
    dpkg-query -L "$@" | sed -n 's,^\(/usr\)\?/lib/systemd/system/\([^/@]*\.service\)$,\2,p' | sort -u |
        while read -r unit; do systemctl disable "$unit" || true; done
}

# need_packages NAME ...: Debian packages, those that are missing only
need_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
    done
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || fail "this needs Debian's packages: ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive bash -c "$(declare -f install_quietly); "'install_quietly "$@"' \
        apt "${missing[@]}" >>"$setup_log" 2>&1 </dev/null || fail "apt-get install ${missing[*]}: see $setup_log"
}

# is_python_of PROGRAM PYTHON: whether both run and are of one version (3.12 and 3.13 are two, 3.12.1 and 3.12.2 are not)
is_python_of() {
    local ask='import sys; print(sys.version_info[:2])' one other
    one=$("$1" -c "$ask" 2>/dev/null) && other=$("$2" -c "$ask" 2>/dev/null) && [ "$one" = "$other" ]
}

# need_environment EXTRAS: the virtual environment with this project and the extras, again when pyproject.toml changes;
# it is replaced when it is of another Python than SIPGATE_PYTHON (Debian's, where that is not set)
need_environment() {
    local python=${SIPGATE_PYTHON:-/usr/bin/python3} stamp
    "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null ||
        fail "$python is not Python 3.11 to 3.13: set SIPGATE_PYTHON to one that is"
    stamp=$({ "$python" --version; cat "$top/pyproject.toml"; printf '%s\n' "$1" "$top"; } | sha256sum | cut -d' ' -f1)
    [ "$(cat "$venv/.sipgate-$1" 2>/dev/null)" = "$stamp" ] && return
    "$python" -c 'import ensurepip, venv' 2>/dev/null || fail "$python cannot make virtual environments: install its venv"
    say "making the virtual environment .venv (Python: $python, extras: $1); the first time takes a minute or two"
    if ! is_python_of "$venv/bin/python" "$python"; then
        [ ! -e "$venv" ] || [ -e "$venv/pyvenv.cfg" ] || fail "$venv is no virtual environment: move it away"
        "$python" -m venv --clear "$venv" >>"$setup_log" 2>&1 || fail "$python -m venv: see $setup_log"
    fi
    if ! { "$venv/bin/python" -m pip install --quiet --upgrade pip &&
        "$venv/bin/python" -m pip install --quiet -e "${top}[$1]"; } >>"$setup_log" 2>&1; then
        fail "pip install: see $setup_log"
    fi
    printf '%s\n' "$stamp" >"$venv/.sipgate-$1"
}
