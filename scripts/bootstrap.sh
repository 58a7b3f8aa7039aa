#!/bin/sh
# Gets a machine ready to run OpenRaaS from this checkout: Debian packages, then Python ones into .venv.
# As root it installs what is missing; as anybody else it says what to install and ends. It starts no service.
set -eu
cd "$(dirname "$0")/.."

PYTHON_MINIMUM="3, 11"
SERVICE_POLICY=/usr/sbin/policy-rc.d
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() { printf '%s\n' "$*" >&2; }

# command:package, for everything that the platform and its box start.
NEEDED="redis-server:redis-server nginx:nginx-light sshd:openssh-server sshfs:sshfs bwrap:bubblewrap
iptables:iptables ip:iproute2 setpriv:util-linux mmdebstrap:mmdebstrap"
# With --tests also what the tests drive: other people's clients.
[ "${1:-}" != --tests ] || NEEDED="$NEEDED skopeo:skopeo chromium:chromium pg_ctlcluster:postgresql"

python_is_good() {
    "$1" -c "import sys; sys.exit(sys.version_info < ($PYTHON_MINIMUM))" 2>/dev/null
}

find_python() {
    for candidate in "${PYTHON:-python3}" /usr/bin/python3 python3.13 python3.12 python3.11; do
        if python_is_good "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
}

engine_answers() {
    [ -n "${DOCKER_HOST:-}" ] || [ -S /var/run/docker.sock ] || [ -S /run/podman/podman.sock ]
}

missing_packages() {
    for pair in $NEEDED; do
        command -v "${pair%%:*}" >/dev/null || printf ' %s' "${pair##*:}"
    done
    engine_answers || command -v dockerd >/dev/null || printf ' docker.io'
    python=$(find_python)
    if [ -z "$python" ]; then
        printf ' python3 python3-venv'
    elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        printf ' python3-venv'
    fi
}

install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "OpenRaaS needs these Debian packages:$1"
        say "Install them as root, then run make again:"
        say "    apt-get install --no-install-recommends$1"
        exit 1
    fi
    say "Installing Debian packages:$1"
    # Debian starts the service of a package that it installs. Ours are started by `openraas up`, others by nobody.
    # A machine that has a policy already keeps it.
    if [ ! -e "$SERVICE_POLICY" ]; then
        trap 'rm -f "$SERVICE_POLICY"' EXIT
        trap 'exit 1' INT TERM
        printf '#!/bin/sh\nexit 101\n' >"$SERVICE_POLICY"
        chmod 755 "$SERVICE_POLICY"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # shellcheck disable=SC2086
    apt-get install -q --yes --no-install-recommends $1
}

# Runs pip quietly and, for people, counts how far it is.
pip_install() {
    .venv/bin/python -m pip install -qq --progress-bar off --disable-pip-version-check --log .venv/install.log "$@" \
        >/dev/null 2>&1 &
    pip=$!
    while [ -t 2 ] && kill -0 "$pip" 2>/dev/null; do
        printf '\r  %s of %s packages' "$(grep -c ' Collecting ' .venv/install.log 2>/dev/null)" \
            "$(grep -c '^[a-z].*==' requirements.lock)" >&2
        sleep 1
    done
    [ ! -t 2 ] || printf '\r                          \r' >&2
    wait "$pip" || {
        say "pip failed; .venv/install.log tells why."
        exit 1
    }
}

stale_translations() {
    for source in master/translations/*/LC_MESSAGES/messages.po; do
        [ ! -e "$source" ] || [ "${source%.po}.mo" -nt "$source" ] || printf '%s ' "$source"
    done
}

packages=$(missing_packages)
# In a shell of its own: what keeps Debian from starting services goes with it, however it ends.
[ -z "$packages" ] || (install_packages "$packages")

python=$(find_python)
if [ -z "$python" ]; then
    say "OpenRaaS needs Python 3.11 or later. Install it, or name one: make PYTHON=/path/to/python3"
    exit 1
fi

# Installing takes a while: only when a lock file or the project's own description changed.
wanted=$(cat requirements.lock pyproject.toml scripts/frontend.toml | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.installed 2>/dev/null)" = "$wanted" ]; then
    # What the pages say in other languages is compiled when it changed; an installation does so itself.
    [ -z "$(stale_translations)" ] || .venv/bin/python hatch_build.py
    exit 0
fi
say "Installing Python packages into .venv (a minute or two the first time)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
[ -x .venv/bin/pip ] || .venv/bin/python -m ensurepip -q
rm -f .venv/install.log
pip_install --require-hashes -r requirements.lock
pip_install --no-build-isolation --no-deps --editable .
# Scripts for browsers, from npm's index by hash; no Node is needed.
.venv/bin/python scripts/frontend.py
printf '%s\n' "$wanted" >.venv/.installed
