#!/bin/sh
# Generates the front's configuration for the site's name and runs nginx in this process's place.
set -eu

: "${OPENRAAS_SITE:?is not set: the name that people type}"
: "${OPENRAAS_LISTEN:?is not set: the address of the master}"
case "$OPENRAAS_SITE" in
    *[!a-z0-9.-]* | "" | .* | -*) echo "OPENRAAS_SITE: $OPENRAAS_SITE is not a host name" >&2; exit 2 ;;
esac

tls=/etc/openraas/tls
if [ ! -f "$tls/site.crt" ]; then
    # No certificate was given: one of our own, made once, so that nothing travels in the clear.
    umask 077
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 730 \
        -subj "/CN=$OPENRAAS_SITE" -addext "subjectAltName=DNS:$OPENRAAS_SITE" \
        -keyout "$tls/site.key" -out "$tls/site.crt.new" 2>/dev/null
    mv "$tls/site.crt.new" "$tls/site.crt"
fi

sed -e "s|@SITE@|$OPENRAAS_SITE|g" \
    -e "s|@LISTEN@|$OPENRAAS_LISTEN|g" \
    -e "s|@WEB_PORT@|${OPENRAAS_WEB_PORT:-8080}|g" \
    -e "s|@HTTP_PORT@|${OPENRAAS_HTTP_PORT:-80}|g" \
    -e "s|@HTTPS_PORT@|${OPENRAAS_HTTPS_PORT:-443}|g" \
    /etc/openraas/front.conf.template > /run/openraas-front.conf
nginx -q -t -c /run/openraas-front.conf
exec nginx -c /run/openraas-front.conf
