# The commands of everyday work. `make help` lists them.
#
# Needed: Go, make and git. `make test` finds the rest through apt, or says what
# is missing.

GO ?= go

# What xcaddy leaves out too: the databases of Caddy's certificate authority.
TAGS := nobadger,nomysql,nopgx

GOLANGCI_LINT_VERSION := v2.15.0
GOLANGCI_LINT := bin/golangci-lint-$(GOLANGCI_LINT_VERSION)

# The race detector is cgo, which takes a C compiler.
race = $(shell command -v "$$($(GO) env CC)" >/dev/null 2>&1 && echo -race)

.DEFAULT_GOAL := help

## help: what there is
.PHONY: help
help:
	@sed -n 's/^## /  make /p' Makefile

## build: bin/caddy, which is Caddy with this module
.PHONY: build
build:
	CGO_ENABLED=0 $(GO) build -trimpath -tags $(TAGS) -o bin/caddy ./cmd/caddy

## run: start the gate on the echo backend, with keys in .env; Ctrl-C ends it
.PHONY: run
run: build
	@$(GO) build -o bin/run ./scripts/run
	@exec bin/run

# One package at a time: several start a gate, Redis servers and a storm of
# callers each, and their bounds in time are about one such, not about all. What
# a request may allocate and cost of CPU is tried without the race detector, which
# takes of both itself.
## test: every test, with the race detector where there is a C compiler
.PHONY: test
test:
	@scripts/test-tools.sh
	@if [ -z "$(race)" ]; then echo "make test: no C compiler, so WITHOUT the race detector"; fi
	$(GO) test -p 1 -timeout 40m $(race) ./...
	$(if $(race),$(GO) test -p 1 -run 'Allocate|CPU' . ./internal/backends ./bench)
	cd conformance && $(GO) test -timeout 20m $(race) ./...
	cd deployments && $(GO) test -timeout 20m ./...
	cd browser && $(GO) test -timeout 20m ./...

## lint: golangci-lint on all modules (its first build takes some minutes)
.PHONY: lint
lint: $(GOLANGCI_LINT)
	$(GOLANGCI_LINT) run
	cd conformance && ../$(GOLANGCI_LINT) run
	cd deployments && ../$(GOLANGCI_LINT) run
	cd browser && ../$(GOLANGCI_LINT) run

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/bin/.install $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/.install/golangci-lint $@ && rmdir bin/.install

## bench: what requests and streams cost in the gate, next to Caddy's bare reverse_proxy
.PHONY: bench
bench: build
	$(GO) run ./bench -caddy bin/caddy $(BENCH)

## fmt: format the Go and the Caddyfiles
.PHONY: fmt
fmt: build
	$(GO) fmt ./...
	cd conformance && $(GO) fmt ./...
	cd deployments && $(GO) fmt ./...
	cd browser && $(GO) fmt ./...
	@for f in Caddyfile examples/*/Caddyfile; do bin/caddy fmt --overwrite "$$f" || exit 1; done

## clean: remove what was built; .env and the data in .run stay
.PHONY: clean
clean:
	rm -rf bin
