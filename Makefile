# Everything here needs Go, git and make; whatever else a target needs it builds from Go modules
# into bin/. `make help` lists the targets.

# Versions of the tools, here and nowhere else. A tool's file in bin/ carries its version, so that
# another version here is another file and is built. The Kubernetes of the demo, the tests and the
# benchmarks is pinned in e2e/controlplane/go.mod.
CONTROLLER_GEN_VERSION := v0.23.0
CRD_REF_DOCS_VERSION   := v0.3.0
GOLANGCI_LINT_VERSION  := v2.15.0
GOVULNCHECK_VERSION    := v1.9.0
CYCLONEDX_VERSION      := v1.10.0
DEADCODE_VERSION       := v0.52.0

# The compiler is the one that go.mod names, for the tools as well; an older Go fetches it through the
# module proxy.
export GOTOOLCHAIN := $(shell sed -n 's/^toolchain //p' go.mod)+auto

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := $(CURDIR)/bin
CONTROLLER_GEN := $(BIN)/controller-gen-$(CONTROLLER_GEN_VERSION)
CRD_REF_DOCS   := $(BIN)/crd-ref-docs-$(CRD_REF_DOCS_VERSION)
GOLANGCI_LINT  := $(BIN)/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK    := $(BIN)/govulncheck-$(GOVULNCHECK_VERSION)
CYCLONEDX      := $(BIN)/cyclonedx-gomod-$(CYCLONEDX_VERSION)
DEADCODE       := $(BIN)/deadcode-$(DEADCODE_VERSION)

MODULE  := github.com/skerry-dev/skerry
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# Static binaries: they go into an image from scratch. What is true for them is true for all that
# is compiled here, tests and linters too, so that nothing is compiled twice.
export CGO_ENABLED := 0
export GOFLAGS := $(strip $(filter-out -trimpath,$(GOFLAGS)) -trimpath)

LDFLAGS  := -s -w -X $(MODULE)/internal/version.Version=$(VERSION)

# The version that an API server reports comes from the linker; without it clients see v0.0.0.
KUBE_VERSION := $(shell sed -n 's|^[[:space:]]*k8s.io/kubernetes \(v[0-9.]*\).*|\1|p' e2e/controlplane/go.mod)
KUBE_MINOR   := $(word 2,$(subst ., ,$(KUBE_VERSION)))
KUBE_LDFLAGS := -s -w \
	-X k8s.io/component-base/version.gitVersion=$(KUBE_VERSION) \
	-X k8s.io/component-base/version.gitMajor=1 \
	-X k8s.io/component-base/version.gitMinor=$(KUBE_MINOR)
CONTROLPLANE_SOURCES := $(shell find e2e/controlplane -name '*.go' -not -name '*_test.go') \
	e2e/controlplane/go.mod e2e/controlplane/go.sum

# Limits of one `go test`; a hang shows as a stack trace and not as a cut-off job.
TEST_TIMEOUT ?= 10m
E2E_TIMEOUT  ?= 40m
# How long each target of `make fuzz` runs.
FUZZ_TIME ?= 20s
# RUN=<regexp> picks cases of the end-to-end tests.
RUN ?= .
# Flags of a benchmark, for example BENCH_FLAGS="--workloads 2x5 --repetitions 1".
BENCH_FLAGS ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: generate
generate: $(CONTROLLER_GEN) $(CRD_REF_DOCS) ## Write deep copies, CRDs and the API reference again from the types in api/
	$(CONTROLLER_GEN) object paths=./api/...
	$(CONTROLLER_GEN) crd paths=./api/... output:crd:artifacts:config=config/crd
	go run ./internal/cli/reference docs
	@$(CRD_REF_DOCS) --source-path=./api --config=config/api-reference.yaml --renderer=markdown --log-level=ERROR --output-path=config/API.md
	@sed -i -e 's/: \\{\\}//g' -e 's/ *<br \/> |$$/ |/' config/API.md # a marker without a value is its name
	@cd e2e/fleetsim && go mod tidy # its tests use packages of this module, whose requirements are theirs

.PHONY: verify
verify: generate ## Fail when generated files, formatting, go.mod or go.sum are not as committed
	@unformatted=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	if [[ -n $$unformatted ]]; then echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; fi
	@for mod in $$(git ls-files '*go.mod'); do \
		( cd "$$(dirname "$$mod")" && go mod tidy -diff ) || { echo "$$mod or its go.sum is not tidy"; exit 1; }; \
	done
	@dirty=$$(git status --porcelain); \
	if [[ -n $$dirty ]]; then \
		echo "the tree is not as committed (generated files out of date?):"; echo "$$dirty"; git --no-pager diff --stat; exit 1; \
	fi

.PHONY: lint
lint: $(GOLANGCI_LINT) $(DEADCODE) ## Run the linters of .golangci.yml, vet the modules of their own, and find functions that no program and no test reaches
	$(GOLANGCI_LINT) run --allow-parallel-runners --timeout 15m ./...
	cd e2e/fleetsim && $(GOLANGCI_LINT) run --allow-parallel-runners --timeout 15m --config ../../.golangci.yml ./...
	@for mod in e2e/controlplane e2e/kine; do echo "vetting $$mod"; ( cd $$mod && go vet ./... ) || exit 1; done
	@dead=$$($(DEADCODE) -test ./...); if [[ -n $$dead ]]; then echo "$$dead"; exit 1; fi

.PHONY: test
test: build ## Run all tests: pure, API-server and end-to-end
	go test -vet=off -timeout $(TEST_TIMEOUT) $$(go list ./... | grep -v '^$(MODULE)/e2e')
	$(MAKE) e2e
	cd e2e/fleetsim && go test -vet=off -count=1 -timeout $(E2E_TIMEOUT) ./...

# Many of them wait for something, so that more run beside each other than there are processors. When all is compiled and
# nothing has been run yet, linking takes as long as the tests: 84 binaries, 100 of 195 s of a processor. go test leaves symbols
# and DWARF out by itself, and GOGC changes nothing. Half of what a link reads are client-go's informers and typed clients, of
# which nothing is used: controller-runtime's client imports its metrics, and these leader election.
.PHONY: unit
unit: ## Run the tests that need no API server, as far as something has changed; all take two minutes on two processors
	go test -vet=off -short -p $$((2 * $$(nproc))) -timeout $(TEST_TIMEOUT) $$(go list ./... | grep -vE '^$(MODULE)/(e2e|internal/testkit/(controlplane|rig))')

# The packages whose goroutines share something. What needs an API server is left out (-short): the
# detector makes it several times slower, and the same code runs without one. So is internal/isolate, whose
# processes have limits of memory that the detector needs for itself.
RACE := ./cmd/... ./controllers/... $(addprefix ./internal/,agent bundlestore cli edge engine fence gateway git hub hubapi \
	receiver recovery render sharding/holder sopsclient $(addprefix cli/,create diff get iostreams logs status wait) \
	$(addprefix testkit/,edgeproxy gitserver linkproxy terminal))

.PHONY: race
race: export CGO_ENABLED := 1
race: ## Run the tests that need no API server with the race detector (needs a C compiler)
	go test -vet=off -race -short -timeout $(TEST_TIMEOUT) $(RACE)

.PHONY: fuzz
fuzz: ## Run each fuzz target for FUZZ_TIME
	@for package in $$(git grep -l '^func Fuzz' -- '*_test.go' | xargs -n1 dirname | sort -u); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9]*\).*/\1/p' "$$package"/*_test.go); do \
			echo "$$package $$target"; go test -vet=off -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZ_TIME) "./$$package"; \
		done; \
	done

.PHONY: vulncheck
vulncheck: $(GOVULNCHECK) ## Look up known vulnerabilities that the code can reach (asks the Go vulnerability database)
	$(GOVULNCHECK) ./...

.PHONY: e2e
e2e: build ## Run the end-to-end tests: real binaries, API servers and Git servers (RUN=<regexp> picks)
	go test -vet=off -count=1 -timeout $(E2E_TIMEOUT) -run '$(RUN)' ./e2e/...

EMULATED := arm64:qemu-aarch64-static arm:qemu-arm-static

.PHONY: e2e-emulated
e2e-emulated: build ## Run an agent of arm64, and of arm, through its script, in QEMU (needs qemu-user-static)
	@for pair in $(EMULATED); do \
		arch=$${pair%%:*}; qemu=$${pair#*:}; \
		command -v $$qemu >/dev/null || { echo "skipped $$arch: $$qemu is missing (qemu-user-static)"; continue; }; \
		GOOS=linux GOARCH=$$arch go build -ldflags '$(LDFLAGS)' -o bin/skerry-agent-$$arch ./cmd/skerry-agent && \
		SKERRY_TEST_AGENT="$$qemu $(BIN)/skerry-agent-$$arch" go test -vet=off -count=1 -timeout $(E2E_TIMEOUT) -run 'TestScripts/agent/cut-off-and-back$$' ./e2e || exit 1; \
	done

.PHONY: bench
bench: build ## Measure against the floor and compare with the targets (BENCH_FLAGS=...)
	go run ./e2e/bench $(BENCH_FLAGS)

.PHONY: bench-fleet
bench-fleet: build ## Measure the hub with 1,000 simulated edges, in about 25 minutes (BENCH_FLAGS="--quick", "--only 3,5")
	go run ./e2e/benchfleet $(BENCH_FLAGS)

.PHONY: bench-agents
bench-agents: build ## Measure an agent with 500 objects of 10 kinds: memory, drift, its link; or a hub with many (BENCH_FLAGS="--agents 10000")
	go run ./e2e/benchagents $(BENCH_FLAGS)

.PHONY: bench-monorepo
bench-monorepo: ## Measure a repository of 200,000 files and 1 GiB of which 100 files are rendered, in about 3 minutes
	go test -run '^$$' -bench Monorepo -benchtime 10x -timeout 60m -v ./internal/git -monorepo

.PHONY: demo
demo: build ## Show the whole way on three edge clusters; stays up until Ctrl-C (ONCE=1: exits)
	@go build -o bin/skerry-demo ./e2e/demo
	@exec bin/skerry-demo $(if $(ONCE),--once)

.PHONY: playground
playground: build ## Start four clusters and a Git server to try the README's first steps on, until Ctrl-C
	@go build -o bin/skerry-demo ./e2e/demo
	@exec bin/skerry-demo --playground playground

.PHONY: build
build: skerry controlplane ## Build static binaries into bin/

.PHONY: skerry
skerry: ## Build bin/skerry, bin/skerry-agent, bin/skerry-hub and bin/skerry-sops, which the hub starts
	@if [[ ! -x bin/skerry-hub ]]; then echo "building bin/skerry and bin/skerry-hub: the first time compiles client-go and kustomize, about two minutes"; fi
	@mkdir -p bin
	go build -ldflags '$(LDFLAGS)' -o bin/skerry ./cmd/skerry
	go build -ldflags '$(LDFLAGS)' -o bin/skerry-hub ./cmd/skerry-hub
	go build -ldflags '$(LDFLAGS)' -o bin/skerry-sops ./cmd/skerry-sops
	go build -ldflags '$(LDFLAGS)' -o bin/skerry-agent ./cmd/skerry-agent

.PHONY: e2e-kine
e2e-kine: controlplane ## Test the engine against API servers on kine's SQLite, the store of k3s (some minutes to build)
	cd e2e/kine && go build -ldflags '-s -w' -o $(BIN)/skerry-kine .
	SKERRY_KINE=$(BIN)/skerry-kine go test -vet=off -count=1 -v -run TestOnKine ./internal/engine

.PHONY: controlplane
controlplane: bin/skerry-controlplane bin/skerry-kwok ## Build the Kubernetes that demo, tests and benchmarks run on

# Kept apart from the dependency graph of the product: a module of its own, and built when its
# sources change and not at each call, because linking it alone takes a while.
bin/skerry-controlplane: $(CONTROLPLANE_SOURCES)
	@echo "building bin/skerry-controlplane: etcd and Kubernetes $(KUBE_VERSION) from source, so that no container engine is needed; the first time takes about five minutes"
	cd e2e/controlplane && go build -ldflags '$(KUBE_LDFLAGS)' -o $(BIN)/skerry-controlplane .

bin/skerry-kwok: $(CONTROLPLANE_SOURCES)
	@echo "building bin/skerry-kwok: nodes that exist on paper only, whose Pods become ready"
	cd e2e/controlplane && go build -ldflags '-s -w' -o $(BIN)/skerry-kwok ./kwok

.PHONY: image
image: build ## Build the container images of the hub and the agent with buildah, podman or docker
	@engine=$$(command -v buildah || command -v podman || command -v docker) || { echo "image needs buildah, podman or docker"; exit 1; }; \
	if [[ $$engine == *docker ]]; then reproducible=; else reproducible="--timestamp 0"; fi; \
	"$$engine" build $$reproducible -t skerry-hub:$(VERSION) . && \
	"$$engine" build $$reproducible -f Dockerfile.agent -t skerry-agent:$(VERSION) .

# A release: the hub for the machines that hubs run on, the CLI for those that people sit at, and
# images of the hub and the agent. DIST is emptied first; the same commit and VERSION give the same bytes.
DIST          ?= dist
HUB_PLATFORMS ?= linux/amd64 linux/arm64 linux/arm
CLI_PLATFORMS ?= $(HUB_PLATFORMS) darwin/amd64 darwin/arm64 windows/amd64
# Images are built where buildah is installed.
IMAGE_PLATFORMS ?= linux/amd64 linux/arm64

# Where the files of a release are published, below its version.
RELEASE_URL ?= https://$(MODULE)/releases/download

.PHONY: release
release: $(CYCLONEDX) ## Build binaries for all platforms, images, SBOMs, the manifest of the kubectl plugin and checksums into dist/
	@rm -rf $(DIST) && mkdir -p $(DIST)
	@for platform in $(CLI_PLATFORMS); do \
		os=$${platform%/*} arch=$${platform#*/}; suffix=$${os}_$$arch; if [[ $$os == windows ]]; then suffix+=.exe; fi; \
		echo "skerry $$platform"; \
		GOOS=$$os GOARCH=$$arch go build -ldflags '$(LDFLAGS)' -o $(DIST)/skerry_$(VERSION)_$$suffix ./cmd/skerry; \
		mkdir $(DIST)/plugin; bin=kubectl-skerry; if [[ $$os == windows ]]; then bin+=.exe; fi; \
		cp $(DIST)/skerry_$(VERSION)_$$suffix $(DIST)/plugin/$$bin; cp LICENSE $(DIST)/plugin/; \
		tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=go-w -C $(DIST)/plugin -c $$bin LICENSE | gzip -n > $(DIST)/kubectl-skerry_$(VERSION)_$${os}_$$arch.tar.gz; \
		rm -r $(DIST)/plugin; \
		if [[ " $(HUB_PLATFORMS) " == *" $$platform "* ]]; then \
			echo "skerry-hub $$platform"; \
			GOOS=$$os GOARCH=$$arch go build -ldflags '$(LDFLAGS)' -o $(DIST)/skerry-hub_$(VERSION)_$$suffix ./cmd/skerry-hub; \
			GOOS=$$os GOARCH=$$arch go build -ldflags '$(LDFLAGS)' -o $(DIST)/skerry-sops_$(VERSION)_$$suffix ./cmd/skerry-sops; \
			GOOS=$$os GOARCH=$$arch go build -ldflags '$(LDFLAGS)' -o $(DIST)/skerry-agent_$(VERSION)_$$suffix ./cmd/skerry-agent; \
		fi; \
	done
	@for platform in $(if $(shell command -v buildah),$(IMAGE_PLATFORMS)); do \
		arch=$${platform#*/}; echo "image $$platform"; \
		buildah build --quiet --platform $$platform --timestamp 0 --build-arg HUB=$(DIST)/skerry-hub_$(VERSION)_linux_$$arch \
			--build-arg SOPS=$(DIST)/skerry-sops_$(VERSION)_linux_$$arch \
			-t skerry-hub:$(VERSION)-$$arch . >/dev/null; \
		buildah push --quiet skerry-hub:$(VERSION)-$$arch oci:$(DIST)/image:$(VERSION); \
		tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C $(DIST)/image -cf $(DIST)/skerry-hub_$(VERSION)_linux_$$arch.oci.tar .; \
		rm -r $(DIST)/image; \
		buildah build --quiet --platform $$platform --timestamp 0 --build-arg AGENT=$(DIST)/skerry-agent_$(VERSION)_linux_$$arch \
			-f Dockerfile.agent -t skerry-agent:$(VERSION)-$$arch . >/dev/null; \
		buildah push --quiet skerry-agent:$(VERSION)-$$arch oci:$(DIST)/image:$(VERSION); \
		tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C $(DIST)/image -cf $(DIST)/skerry-agent_$(VERSION)_linux_$$arch.oci.tar .; \
		rm -r $(DIST)/image; \
	done
	@cd $(DIST) && for binary in $$(ls | grep -vE '\.oci\.tar$$|\.tar\.gz$$'); do \
		$(CYCLONEDX) bin -json -noserial -notimestamp -output $$binary.sbom.json $$binary 2>/dev/null; \
	done
	@go run ./internal/cli/krew $(DIST) $(VERSION) $(RELEASE_URL)/$(VERSION) > $(DIST)/skerry.krew.yaml
	@cd $(DIST) && sha256sum * > SHA256SUMS && wc -l < SHA256SUMS | xargs -I{} echo "{} files in $(DIST)"

$(CONTROLLER_GEN):
	@echo "building controller-gen $(CONTROLLER_GEN_VERSION): it writes deep copies and CRDs"
	$(call install-tool,sigs.k8s.io/controller-tools/cmd/controller-gen,$(CONTROLLER_GEN_VERSION),$@)

$(CRD_REF_DOCS):
	@echo "building crd-ref-docs $(CRD_REF_DOCS_VERSION): it writes the API reference"
	$(call install-tool,github.com/elastic/crd-ref-docs,$(CRD_REF_DOCS_VERSION),$@)

$(GOLANGCI_LINT):
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION): the first time takes some minutes"
	$(call install-tool,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,$(GOLANGCI_LINT_VERSION),$@)

$(GOVULNCHECK):
	@echo "building govulncheck $(GOVULNCHECK_VERSION)"
	$(call install-tool,golang.org/x/vuln/cmd/govulncheck,$(GOVULNCHECK_VERSION),$@)

$(CYCLONEDX):
	@echo "building cyclonedx-gomod $(CYCLONEDX_VERSION): it lists what a binary is made of"
	$(call install-tool,github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod,$(CYCLONEDX_VERSION),$@)

$(DEADCODE):
	@echo "building deadcode $(DEADCODE_VERSION): it finds what nothing reaches"
	$(call install-tool,golang.org/x/tools/cmd/deadcode,$(DEADCODE_VERSION),$@)

# install-tool builds package $(1) at version $(2) as file $(3). `go install` names the file after
# the package, so it goes through a folder of its own.
define install-tool
	@dir=$$(mktemp -d) && trap 'rm -rf "$$dir"' EXIT && mkdir -p $(BIN) && \
	GOBIN=$$dir go install $(1)@$(2) && mv "$$dir"/$(notdir $(1)) $(3)
endef
