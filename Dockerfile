# Three images: whoami (the last stage, so a plain `docker build` builds it), --target whereami, --target utils.
# It works with any builder, BuildKit or not, and on any architecture.

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
# no_debug_ranges: column numbers in bytecode only serve to underline source code in tracebacks, and no sources are shipped
RUN python3 -X no_debug_ranges image_root.py server /server && python3 image_root.py tools /tools /server


# The labs' client. It uses glibc, because the DNS labs demonstrate its resolver.
FROM debian:trixie-slim AS utils
RUN apt-get update \
 && apt-get install --yes --no-install-recommends bash bind9-dnsutils bind9-host ca-certificates curl inetutils-telnet \
      iproute2 iputils-ping jq less netcat-openbsd openssl procps tcpdump traceroute vim-tiny wget \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 65532 utils \
 && useradd --uid 65532 --gid 65532 --create-home --shell /bin/bash utils
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="utils" \
      org.opencontainers.image.description="The clients that the Kubernetes labs use, on Debian" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
WORKDIR /home/utils
# The kernel ignores signals for which PID 1 has no handler: a bare sleep would run until SIGKILL.
CMD ["/bin/bash", "-c", "trap 'exit 0' TERM INT; sleep infinity & wait"]


# Python, the wheels and both programs: one layer, shared by both images. No environment is set, because
# whoami shows it to clients.
FROM scratch AS server
COPY --from=build /server/ /
USER 65532:65532


FROM server AS whereami
COPY --from=build /tools/ /
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="whereami" \
      org.opencontainers.image.description="The kubia server of the Kubernetes labs, with curl and ping" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/bin/whereami", "healthcheck"]
ENTRYPOINT ["/usr/bin/whereami"]


FROM server AS whoami
ARG VERSION=unknown
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="whoami" \
      org.opencontainers.image.description="Tells its host name, its addresses and the request as it arrived" \
      org.opencontainers.image.source="$SOURCE" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 80
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/usr/bin/whoami", "healthcheck"]
ENTRYPOINT ["/usr/bin/whoami"]
