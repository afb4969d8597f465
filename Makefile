# The commands of everyday work. `make help` lists them.
#
# Needed: Go, make and git. `make test` finds the rest through apt, or says what
# is missing.

GO ?= go

# What xcaddy leaves out too: the databases of Caddy's certificate authority.
TAGS := nobadger,nomysql,nopgx

# The flags of a release. All that does without the race detector is compiled with
# them, so that Caddy is compiled twice for `make test` and `make lint`, and not
# four times.
RELEASE := CGO_ENABLED=0 GOFLAGS="$(shell $(GO) env GOFLAGS) -trimpath -tags=$(TAGS)"

# Modules of their own: what they need is nobody's dependency who builds the gate.
MODULES := bench browser conformance deployments

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
	$(RELEASE) $(GO) build -o bin/caddy ./cmd/caddy

## run: start the gate on the echo backend, with keys in .env; Ctrl-C ends it
.PHONY: run
run: build
	@exec bin/caddy pinegate demo --config Caddyfile --env-file .env --dir .run

# All tests start the same binaries: bin/test/caddy, with the race detector, and
# bin/caddy, where CPU time counts. Each package builds its own where
# PINEGATE_TEST_BINARY is not set. -count=1 is for those that start a gate, since go
# does not see that the binary has changed. A program with the race detector sleeps
# for a second before it exits, unless GORACE says otherwise.
TEST := GORACE=atexit_sleep_ms=50 PINEGATE_TEST_BINARY=$(CURDIR)/bin/test/caddy $(GO)

# integration has the two cores for itself: it starts gates, Redis servers and storms
# of callers. Those of its tests that mostly wait are parallel, whatever the number of
# cores. What a request allocates and what it takes of the CPU is tried without
# the race detector, which takes of both itself.
## test: every test, with the race detector where there is a C compiler
.PHONY: test
test: build
	@scripts/test-tools.sh
	@if [ -z "$(race)" ]; then echo "make test: no C compiler, so WITHOUT the race detector"; fi
	$(GO) build $(race) -o bin/test/caddy ./cmd/caddy
	$(TEST) test -timeout 20m $(race) $$($(GO) list ./... | grep -v /integration$$)
	$(TEST) test -count=1 -parallel 8 -timeout 20m $(race) ./integration
	cd conformance && $(TEST) test -count=1 -timeout 10m $(race) ./...
	cd browser && $(TEST) test -count=1 -timeout 10m $(race) ./...
	cd deployments && $(RELEASE) $(TEST) test -count=1 -timeout 10m ./...
	$(RELEASE) $(GO) test -run 'Allocate|CPU' . ./internal/backends
	cd bench && $(RELEASE) PINEGATE_TEST_BINARY=$(CURDIR)/bin/caddy $(GO) test -count=1 -timeout 10m ./...

# Comments say what code returns, sets or reports, not what it "tells".
.PHONY: language
language:
	@! git grep -nE '^[[:space:]]*//' -- '*.go' | grep -wE '[Tt]ells?|told'

## lint: golangci-lint on all modules (its first build takes some minutes)
.PHONY: lint
lint: language $(GOLANGCI_LINT)
	$(RELEASE) $(GOLANGCI_LINT) run
	@for m in $(MODULES); do (cd $$m && $(RELEASE) ../$(GOLANGCI_LINT) run) || exit 1; done

$(GOLANGCI_LINT):
	GOBIN=$(CURDIR)/bin/.install $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/.install/golangci-lint $@ && rmdir bin/.install

## bench: what requests and streams cost in the gate, next to Caddy's bare reverse_proxy
.PHONY: bench
bench: build
	cd bench && $(GO) build -o ../bin/bench .
	bin/bench -caddy bin/caddy $(BENCH)

## fmt: format the Go and the Caddyfiles
.PHONY: fmt
fmt: build
	@for m in . $(MODULES); do (cd $$m && $(GO) fmt ./...) || exit 1; done
	@for f in Caddyfile examples/*/Caddyfile; do bin/caddy fmt --overwrite "$$f" || exit 1; done

## tidy: go.mod and go.sum of all modules, after a change of a dependency
.PHONY: tidy
tidy:
	@for m in . $(MODULES); do (cd $$m && $(GO) mod tidy) || exit 1; done

## clean: remove what was built; .env and the data in .run stay
.PHONY: clean
clean:
	rm -rf bin
