# whoami (the last stage, so what a plain `docker build` makes), --target whereami, --target utils.
# No instruction needs BuildKit, and nothing depends on the processor.

FROM debian:trixie-slim AS build
RUN apt-get update \
 && apt-get install --yes --no-install-recommends binutils ca-certificates curl iputils-ping python3 python3-pip
WORKDIR /build
COPY requirements/server.txt ./
RUN python3 -m pip install --quiet --no-cache-dir --root-user-action ignore --require-hashes \
      --only-binary :all: --no-compile --target site --requirement server.txt
COPY podkit site/podkit
COPY whoami site/whoami
COPY whereami site/whereami
COPY scripts/image_root.py ./
RUN python3 image_root.py server /server && python3 image_root.py tools /tools /server


FROM debian:trixie-slim AS utils
ARG VERSION=0
ARG REVISION=unknown
RUN apt-get update \
 && apt-get install --yes --no-install-recommends bash bind9-dnsutils bind9-host ca-certificates curl iproute2 \
      iputils-ping jq netcat-openbsd openssl traceroute vim-tiny wget \
 && rm -rf /var/lib/apt/lists/*
USER 65532:65532
# PID 1 gets no signal that it has no handler for: a bare sleep would wait for the engine's SIGKILL.
CMD ["bash", "-c", "trap 'exit 0' TERM INT; sleep infinity & wait"]


# Python and both programs: the layer that both server images share.
FROM scratch AS server
COPY --from=build /server/ /
USER 65532:65532


FROM server AS whereami
ARG VERSION=0
ARG REVISION=unknown
COPY --from=build /tools/ /
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/bin/whereami", "healthcheck"]
ENTRYPOINT ["/usr/bin/whereami"]


FROM server AS whoami
ARG VERSION=0
ARG REVISION=unknown
EXPOSE 80
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/bin/whoami", "healthcheck"]
ENTRYPOINT ["/usr/bin/whoami"]
