# Two commands do everything: `make demo` and `make test`.
GO ?= go
BIN := bin
export CGO_ENABLED := 0

.PHONY: build demo test test-guest race conformance bench kills fuzz nightly lint setup clean

build:
	$(GO) build -trimpath -o $(BIN)/ ./cmd/...

# The main job: a software UICC downloads a file over BIP by both methods, in network namespaces.
demo: setup build
	$(BIN)/bipctl demo

test: setup build
	$(GO) test $(TESTFLAGS) ./...

# Tests that need a kernel and devices of their own, in QEMU guests. Where one cannot run the tests are skipped with the reason,
# and with REQUIRE_GUEST=1 they fail.
test-guest:
	@sh scripts/setup guest
	$(GO) test -tags guest -count=1 -timeout 20m -p 2 $(TESTFLAGS) ./internal/guest/suites/...

# As test, with the race detector, which needs a C compiler.
race: setup
	CGO_ENABLED=1 $(GO) test -race ./...

# Plays the conformance vectors and sequences against the terminal, has tshark read every APDU, and prints a table of all
# cases; its last line is the count.
conformance: setup
	@mkdir -p $(BIN)
	$(GO) test -c -o $(BIN)/conformance.test ./internal/conformance
	@cd internal/conformance && ../../$(BIN)/conformance.test -table

# One line for each figure, against plain peers in the same run; BENCH=mux measures those whose name begins so.
bench:
	@$(GO) run ./internal/bench -only '$(BENCH)'

# Kills the one or the other daemon KILLS times while three cards load, and reports how soon the lines were back.
KILLS ?= 200
kills:
	KILLS=$(KILLS) $(GO) test -v -timeout 40m -run '^TestKills$$' ./cmd/apd

# Runs every fuzz target for FUZZTIME.
FUZZTIME ?= 60s
fuzz:
	@GO='$(GO)' sh scripts/fuzz $(FUZZTIME)

# What takes longer than a change's tests may: sweeps and campaigns whole instead of in part, 200 kills, a minute of each fuzz target.
nightly: setup
	NIGHTLY=1 $(GO) test -count=1 -timeout 90m -run Nightly ./...
	$(MAKE) kills fuzz

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l . ; echo "gofmt would change these files"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...
	$(GO) vet -tags guest ./internal/guest/...
	$(GO) tool staticcheck -tags guest ./internal/guest/...

# Installs what demo and test use, where apt and the right to run it are there; says what is missing otherwise.
setup:
	@sh scripts/setup

clean:
	rm -rf $(BIN)
