#!/bin/sh
# Joins the master the first time, then runs the box in this process's place.
set -eu

if [ ! -f "$OPENRAAS_BOX_DIR/identity.json" ]; then
    : "${OPENRAAS_MASTER:?is not set: the address of the master, https://HOST:8080}"
    : "${OPENRAAS_TOKEN:?is not set: make one on the master with: openraas box token}"
    set -- --state-dir "$OPENRAAS_BOX_DIR" --engine unix:///var/run/docker.sock
    [ -z "${OPENRAAS_BOX_NAME:-}" ] || set -- "$@" --name "$OPENRAAS_BOX_NAME"
    [ -z "${OPENRAAS_BOX_ADDRESS:-}" ] || set -- "$@" --address "$OPENRAAS_BOX_ADDRESS"
    [ -z "${OPENRAAS_BOX_ROLES:-}" ] || set -- "$@" --roles "$OPENRAAS_BOX_ROLES"
    [ -z "${OPENRAAS_BOX_LENT:-}" ] || set -- "$@" --lent "$OPENRAAS_BOX_LENT"
    printf '%s\n' "$OPENRAAS_TOKEN" | openraas box join "$OPENRAAS_MASTER" - "$@"
fi
unset OPENRAAS_TOKEN
# A container has no nodes for loop devices that the kernel makes later; each home takes one.
number=0
while [ "$number" -lt 256 ]; do
    [ -e "/dev/loop$number" ] || mknod -m 0600 "/dev/loop$number" b 7 "$number"
    number=$((number + 1))
done
exec openraas box run --state-dir "$OPENRAAS_BOX_DIR"
