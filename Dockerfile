# The gate as an image: one static binary, no shell, no root.
#
# The tags are pinned but not by digest; whoever needs an image that can be made
# again bit by bit passes `--build-arg GO_IMAGE=…@sha256:…` and RUN_IMAGE alike.
ARG GO_IMAGE=docker.io/library/golang:1.26.8-bookworm
ARG RUN_IMAGE=gcr.io/distroless/static-debian12:nonroot

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# The tags leave out the databases of Caddy's certificate authority, as xcaddy does.
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -tags nobadger,nomysql,nopgx \
	-ldflags '-s -w' -o /out/caddy ./cmd/caddy \
	&& mkdir -p /out/data /out/config

FROM ${RUN_IMAGE}
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

# There is no HEALTHCHECK, for there is no shell: probe /healthz and /readyz.
ENTRYPOINT ["/usr/bin/caddy"]
CMD ["run", "--config", "/etc/caddy/Caddyfile"]
