# A box. Build context: the root of the repository.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      bubblewrap ca-certificates curl e2fsprogs fuse3 iproute2 iptables mount nginx-light openssh-client \
      openssh-server openssh-sftp-server python3 python3-venv sshfs util-linux \
 && rm -rf /var/lib/apt/lists/* /etc/ssh/ssh_host_*

COPY requirements.lock /usr/src/openraas/
RUN python3 -m venv /opt/openraas \
 && /opt/openraas/bin/pip install --no-cache-dir -r /usr/src/openraas/requirements.lock
COPY . /usr/src/openraas/
RUN /opt/openraas/bin/pip install --no-cache-dir --no-deps "/usr/src/openraas[compute,filestore]" \
 && install -m 0755 /usr/src/openraas/compose/docker/box.sh /usr/local/bin/openraas-box \
 && rm -rf /usr/src/openraas

ENV PATH=/opt/openraas/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    OPENRAAS_BOX_DIR=/var/lib/openraas/box
ENTRYPOINT ["openraas-box"]
