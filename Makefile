# haloingest. `make demo` shows it working, `make test` proves it; both need Go, git and make only, and fetch the rest from package
# registries. Written for make 3.81 too, which is what macOS has.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS  = -X main.version=$(VERSION)

# What the targets below run over; narrow them to work on one part: make test PKGS=./pipeline/...
PKGS       ?= ./...
# Packages tested at once. Two keep a small machine busy, and let the tests that watch the clock of the operating system breathe.
PARALLEL   ?= 2
TESTFLAGS  ?=
BENCH      ?= .
BENCHTIME  ?= 1s
FUZZTIME   ?= 30s
# The gofmt of the toolchain that go.mod asks for, not that of another Go which comes first on PATH.
GOFMT       = "$$($(GO) env GOROOT)/bin/gofmt"
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

# Every recipe is a POSIX shell script.
SHELL = /bin/sh

.PHONY: help build deps postgres browser demo test test-race bench eval proof-long fuzz lint clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

build: ## build bin/haloingest and bin/intercomsim
	@mkdir -p bin
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/haloingest ./cmd/intercomsim

deps: postgres browser ## find PostgreSQL and, for tests, Chromium, or install them if this machine has none

postgres:
	@$(GO) run ./sinks/postgres/localpg/install

BROWSER = ./sinks/diff/report/browsertest/install

browser:
	@$(GO) run $(BROWSER)

# In the environment of tests: what is missing fails a test, where `deps` has just seen to it; a bare `go test` skips what needs it.
REQUIRE = HALOINGEST_TEST_REQUIRE_POSTGRES=1 HALOINGEST_TEST_REQUIRE_CHROMIUM=$$($(GO) run $(BROWSER) -check 2>/dev/null && echo 1)

demo: postgres build ## the whole tour on this machine: simulated Intercom, backfill, replay, diff, status
	bin/haloingest demo

test: deps ## gofmt, go vet and every test
	@unformatted=$$($(GOFMT) -l .); if [ -n "$$unformatted" ]; then echo "gofmt has something to say about:"; echo "$$unformatted"; exit 1; fi
	@$(GO) vet $(PKGS)
	@$(REQUIRE) $(MAKE) --no-print-directory run-tests RUN="$(GO) test -p $(PARALLEL) -timeout 15m $(TESTFLAGS) $(PKGS)"

test-race: deps ## every test under the race detector (needs a C compiler)
	@$(REQUIRE) $(MAKE) --no-print-directory run-tests RUN="$(GO) test -race -p $(PARALLEL) -timeout 30m $(TESTFLAGS) $(PKGS)"

# Runs RUN, shows what it prints, and closes with how many packages passed. The status comes through a file, as sh has no pipefail.
.PHONY: run-tests
run-tests:
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && \
	{ $(RUN) 2>&1; echo $$? >"$$dir/status"; } | tee "$$dir/out"; \
	awk '/^ok[ \t]/ { ok++ } /^FAIL[ \t]/ { bad++ } END { printf "packages: %d passed, %d failed\n", ok, bad }' "$$dir/out"; \
	exit $$(cat "$$dir/status")

bench: postgres ## every benchmark
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime $(BENCHTIME) -benchmem -p 1 -timeout 60m $(PKGS)

# DATA is a folder of *.jsonl, or one such file, of dialogues with summaries by people: {conversation_id, turns: [{role, text}], annotations: [{abstractive}]}.
eval: postgres ## how good summaries and search are, on real dialogues: make eval DATA=FOLDER
	@test -e "$(DATA)" || { echo "make eval needs DATA: a folder of dialogues, or a file"; exit 2; }
	@HALOINGEST_EVAL_DATA="$$(cd "$$(dirname "$(DATA)")" && pwd)/$$(basename "$(DATA)")" HALOINGEST_TEST_REQUIRE_POSTGRES=1 \
		$(MAKE) --no-print-directory run-tests RUN="$(GO) test -count 1 -timeout 60m -run ROUGE\|Quality -v ./stages/distill ./cmd/haloingest/internal/knowledge"

proof-long: deps ## the fault tests at full length: hours
	@HALOINGEST_PROOF=long $(REQUIRE) $(MAKE) --no-print-directory run-tests RUN="$(GO) test -p 1 -count 1 -timeout 12h $(TESTFLAGS) $(PKGS)"

fuzz: deps ## every fuzz test for FUZZTIME (30s) each
	@set -e; for pkg in $$($(GO) list $(PKGS)); do \
		for name in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz' || true); do \
			echo "$$pkg $$name"; \
			$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$pkg"; \
		done; \
	done

lint: ## gofmt, go vet and staticcheck
	@unformatted=$$($(GOFMT) -l .); if [ -n "$$unformatted" ]; then echo "gofmt has something to say about:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet $(PKGS)
	$(GO) run $(STATICCHECK) $(PKGS)

clean: ## remove what was built
	rm -rf bin
