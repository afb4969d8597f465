# syntax=docker/dockerfile:1
# The gate as an image: one static binary, no shell, no root.
#
# Both images are pinned by the digest of their index, so that all platforms are made of
# what was looked at; dependabot moves them on. To build on others, pass
# `--build-arg GO_IMAGE=…` and RUN_IMAGE.
ARG GO_IMAGE=docker.io/library/golang:1.26.8-bookworm@sha256:a688600ca24f8a4d3ca77f95b0dd40704a9fc787c826660eb7ba0b641b8b175d
ARG RUN_IMAGE=gcr.io/distroless/static-debian12:nonroot@sha256:afa5c872c891853ca7fcf1f12c3edb23f7eeef36189728842dd51042ff57f7ab

# Go builds for other platforms from where it runs: nothing is emulated.
FROM --platform=$BUILDPLATFORM ${GO_IMAGE} AS build
ARG TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The tags leave out the databases of Caddy's certificate authority, as xcaddy does.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -tags nobadger,nomysql,nopgx \
	-ldflags '-s -w' -o /out/caddy ./cmd/caddy \
	&& mkdir -p /out/data /out/config

FROM ${RUN_IMAGE}
ARG VERSION=dev REVISION=unknown
LABEL org.opencontainers.image.title="pine-gate" \
	org.opencontainers.image.description="An inference gateway that is just Caddy" \
	org.opencontainers.image.url="https://github.com/amanycodes/pine-gate" \
	org.opencontainers.image.source="https://github.com/amanycodes/pine-gate" \
	org.opencontainers.image.documentation="https://github.com/amanycodes/pine-gate/tree/main/docs" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.version="${VERSION}" \
	org.opencontainers.image.revision="${REVISION}"

COPY --from=build /out/caddy /usr/bin/caddy
COPY Caddyfile /etc/caddy/Caddyfile
# 65532 is the image's user `nonroot`: volumes take over who owns these.
COPY --from=build --chown=65532:65532 /out/data /data
COPY --from=build --chown=65532:65532 /out/config /config

# Inside a container loopback is of use to nobody; the admin endpoint and the
# control plane stay there all the same until they are asked for.
ENV XDG_DATA_HOME=/data \
	XDG_CONFIG_HOME=/config \
	PINEGATE_BIND=0.0.0.0

VOLUME ["/data", "/config"]
USER 65532:65532
WORKDIR /data

# 8080: the gate of the shipped Caddyfile. 8443: HTTPS of a Caddyfile of yours,
# over TCP and, for HTTP/3, UDP; set `http_port 8080` and `https_port 8443` in it.
EXPOSE 8080 8443 8443/udp

# By Caddy's own admin endpoint, whatever the gate listens on. Where that is off or
# elsewhere, compose's `test: [CMD, caddy, pinegate, check, --address, …]` says what to
# ask. Kubernetes asks /healthz and /readyz itself.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
	CMD ["/usr/bin/caddy", "pinegate", "check"]

ENTRYPOINT ["/usr/bin/caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]
