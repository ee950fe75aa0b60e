# make build | test | demo | lint | bench | fuzz | release: see CONTRIBUTING.md.
export CGO_ENABLED = 0
TAGS    = urfave_cli_no_docs
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO      ?= go
BUILD   = $(GO) build -trimpath -buildvcs=false -tags $(TAGS)

.PHONY: cross build test test-full test-old test-vm lint demo fuzz release guard claims conformance crash tools bench bench-peers flame clean

build:
	$(BUILD) -ldflags "-s -w -X main.version=$(VERSION)" -o bin/hod ./cmd/hod

# What tests drive besides Go. Without apt or root they skip what needs it, by name.
tools:
	@sh .ci/tools

TESTFLAGS = -timeout 30m
test: tools
	@sh .ci/room $(GO) test -tags $(TAGS) $(TESTFLAGS) ./...

test-full: tools
	HOD_TEST_FULL=1 sh .ci/room $(GO) test -tags $(TAGS) -count=1 -timeout 60m ./...

# Kills and failing calls at every system call, of operations and of the binary's verbs; power cuts, processes side by side of
# which 500 are killed, full disks: the long form, as one table. It takes half an hour of two idle cores; POINTS=10 strikes
# each part at most ten times. KEEP=file keeps what the tests said.
POINTS ?=
crash:
	@HOD_TEST_FULL=1 HOD_TEST_POINTS=$(POINTS) $(GO) test -tags $(TAGS) -count=1 -timeout 90m -p 1 -run 'Crash|Syncs|SideBySide|PowerLoss|FullDisk|FewInodes|Bombs' -v \
		./layers ./cmd/hod 2>&1 | $(if $(KEEP),tee $(KEEP) |) awk -f .ci/crash.awk

# Store and runner as on Linux 5.15: newer system calls answer ENOSYS, lowerdir+ EINVAL.
OLD = TestScript/(run|build|layers)/^(devices|exec|exit|sources|stdio|volume|copy|run-mounts|squash|stale|userns|copies|import|prune|save-load)$$
test-old: tools
	HOD_TEST_OLD=5.15 $(GO) test -tags $(TAGS) -count=1 -timeout 20m -run '$(OLD)' ./cmd/hod

# The containers' tests on Debian's kernels in QEMU, with control groups version 2 and AppArmor (root; minutes, since the
# processor is emulated where there is no KVM). VM_KERNEL=linux-image-6.12-cloud-amd64 VM_RUN=run/exec for another and for parts.
VM_KERNEL ?= linux-image-cloud-amd64
test-vm:
	sh .ci/vm/run $(VM_KERNEL)

guard:
	$(GO) test -tags $(TAGS) -count=1 -run 'Guard|Floors' -v . ./cmd/hod

claims:
	$(GO) test -tags $(TAGS) -count=1 -run Claims -v .

lint:
	@test -z "$$(gofmt -l cmd builder layers registry runner *.go)" || { gofmt -l cmd builder layers registry runner *.go; exit 1; }
	$(GO) vet -tags $(TAGS) ./...

# It compiles elsewhere too, tests with it; what was not run there is untested. The benchmark is of Linux.
cross:
	for at in linux/arm64 darwin/arm64; do export GOOS=$${at%/*} GOARCH=$${at#*/}; $(BUILD) -o /dev/null ./cmd/hod && \
		$(GO) vet -tags $(TAGS) $$($(GO) list -e -f '{{if .GoFiles}}{{.ImportPath}}{{end}}' ./... | grep -v cmd/bench) || exit 1; done

# BASE=go makes the base image of Go modules even where there is a busybox.
demo: build
	$(GO) run -tags $(TAGS) ./cmd/demo -base=$(BASE)

# hod beside BuildKit, the specifications and other readers, as scores; PART="recorded differential distribution schema readers".
conformance:
	$(GO) run -tags $(TAGS) ./cmd/conformance $(PART)

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 30s
fuzz:
	@for p in $$($(GO) list -tags $(TAGS) ./...); do \
	  for f in $$($(GO) test -tags $(TAGS) -list '^Fuzz' $$p | grep '^Fuzz'); do \
	    echo "$$p $$f"; $(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s $$p || exit 1; \
	  done; \
	done

# The same bytes from the same commit, on any machine.
release:
	rm -rf out && mkdir -p out
	for arch in amd64 arm64; do GOOS=linux GOARCH=$$arch $(BUILD) -ldflags "-s -w -buildid= -X main.version=$(VERSION)" -o out/hod-linux-$$arch ./cmd/hod || exit 1; done
	cd out && sha256sum hod-* > SHA256SUMS

# hod beside its peers (root; an hour and more with all of them, BENCHFLAGS="-for 30m" bounds it): results and charts in OUT.
# make bench WORK=w3,s1 PEERS=hod,docker SCALE=0.1 for parts; bench -h lists all.
OUT   ?= docs/bench
SCALE ?= 1
BENCH  = $(GO) run -tags $(TAGS) ./cmd/bench
bench:
	$(BENCH) -work "$(WORK)" -peers "$(PEERS)" -scale $(SCALE) -out $(OUT) $(if $(WORK)$(PEERS),,-readme README.md) $(BENCHFLAGS)

# What bench compares with: Debian's tools, BuildKit and crane, inputs. PEERDIR keeps them.
PEERDIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/hod-bench
bench-peers:
	sh cmd/bench/peers.sh $(PEERDIR)

# What hod's time goes into: bin/flame.svg. make flame WORK=w3 MODE=cached
WORK ?=
MODE ?= cold
flame:
	$(BENCH) -work $(or $(WORK),w3)/$(MODE) -peers hod -scale $(SCALE) -out bin/flame -flame bin/flame.svg

clean:
	rm -rf bin out
