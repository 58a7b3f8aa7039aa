# The master, and the nginx front before it. Build context: the root of the repository.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      ca-certificates curl nginx-light openssl python3 python3-venv redis-server util-linux \
 && rm -rf /var/lib/apt/lists/*

# What changes seldom first: a change of our own code installs no dependency again.
COPY requirements.lock /usr/src/openraas/
RUN python3 -m venv /opt/openraas \
 && /opt/openraas/bin/pip install --no-cache-dir -r /usr/src/openraas/requirements.lock
COPY . /usr/src/openraas/
RUN /opt/openraas/bin/pip install --no-cache-dir --no-deps "/usr/src/openraas[master]" \
 && install -m 0755 /usr/src/openraas/compose/docker/front.sh /usr/local/bin/openraas-front \
 && install -m 0644 -D /usr/src/openraas/compose/docker/front.conf.template /etc/openraas/front.conf.template \
 && rm -rf /usr/src/openraas

ENV PATH=/opt/openraas/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    OPENRAAS_STATE_DIR=/var/lib/openraas
VOLUME /var/lib/openraas
ENTRYPOINT ["openraas"]
CMD ["up", "--no-box"]
