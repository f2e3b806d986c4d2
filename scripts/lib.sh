# What the scripts share: where things are, and how a missing tool is come by. Sourced, never run.
# shellcheck shell=bash disable=SC2034

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
# Cargo runs in the repository, where a relative path would mean something else.
if [[ $target != /* ]]; then
    target=$(realpath -m "$target")
    export CARGO_TARGET_DIR=$target
fi
# Where rustup puts cargo, which a shell that is no login shell may not know.
PATH=$PATH:$HOME/.cargo/bin

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Runs apt-get as root, if that needs no questions; its output is shown only when it fails.
apt() {
    local sudo=()
    ((EUID == 0)) || sudo=(sudo -n)
    command -v apt-get >/dev/null || return 1
    local log
    log=$("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq "$@" 2>&1) && return
    printf '%s\n' "$log" >&2
    return 1
}

# Installs packages; what the system knows of them may be old, or nothing on a fresh machine.
add_packages() {
    say "Installing $* ..."
    apt update && apt install --no-install-recommends "$@"
}

# need TOOL PACKAGE...: the tool is there afterwards, or the script has ended saying what to do.
need() {
    command -v "$1" >/dev/null && return
    add_packages "${@:2}" && command -v "$1" >/dev/null && return
    die "$1 is missing and could not be installed: install the package $2 and try again"
}

at_least() { [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -1) == "$1" ]]; }

# A compiler that is new enough, or one line on how to get one.
need_cargo() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    if ! command -v cargo >/dev/null; then
        have=$(apt-cache policy cargo 2>/dev/null | sed -n 's/ *Candidate: \([0-9.]*\).*/\1/p')
        if [[ -n $have ]] && at_least "$wanted" "$have"; then
            need cargo cargo
        else
            die "cargo is missing: install Rust $wanted or newer (see https://rustup.rs)"
        fi
    fi
    have=$(cargo --version | cut -d' ' -f2)
    at_least "$wanted" "$have" || die "cargo is $have: update Rust to $wanted or newer"
    # A linker wants what gcc only recommends.
    need cc gcc libc6-dev
}

# The real redis-server at $target/tools/redis/redis-server, without a service being started:
# Debian's redis-tools holds the program under the name of a checker, and it goes by its own name.
need_redis() {
    local tools=$target/tools/redis program
    need redis-cli redis-tools
    is_redis "$tools/redis-server" && return
    mkdir -p "$tools"
    for program in "$(command -v redis-server || true)" "$(command -v redis-check-rdb || true)"; do
        [[ -n $program ]] || continue
        ln -sf "$(readlink -f "$program")" "$tools/redis-server"
        is_redis "$tools/redis-server" && return
    done
    # Where the checker is a program of its own the server is unpacked, not installed.
    apt update || say "The lists of packages are old: trying with what they say."
    if (cd "$tools" && apt-get -qq download redis-server && dpkg-deb -x redis-server_*.deb .); then
        ln -sf usr/bin/redis-server "$tools/redis-server"
        is_redis "$tools/redis-server" && return
    fi
    die "redis-server is missing: put one at $tools/redis-server and try again"
}

is_redis() { "$1" --version 2>/dev/null | grep -q '^Redis server'; }

# The JavaScript packages of the tests, in $target/node; false where they cannot be had.
need_node() {
    local modules=$target/node wanted=$root/tests/node/package.json
    cmp -s "$wanted" "$modules/installed.json" && return
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        add_packages nodejs npm || return 1
    fi
    say "Installing the JavaScript packages of the tests into $modules ..."
    mkdir -p "$modules" && cp "$wanted" "$modules/package.json"
    (cd "$modules" && npm install --no-audit --no-fund --silent) || return 1
    cp "$wanted" "$modules/installed.json"
}

# The Python packages of the tests, in an environment of their own at $target/venv.
need_venv() {
    local venv=$target/venv wanted=$root/tests/python/requirements.txt
    cmp -s "$wanted" "$venv/requirements.txt" && return
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || add_packages python3-venv ||
        die "python3 lacks venv: install the package python3-venv and try again"
    say "Installing the Python packages of the tests into $venv ..."
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted" ||
        die "the packages of $wanted could not be installed: see above, and try again"
    cp "$wanted" "$venv/requirements.txt"
}
