# One target a line in `make help`. Versions come from versions.env, recipes that are longer than a few lines from scripts/.
include versions.env

SHELL       := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STAGE   ?= zero-trust
# netns (Linux, nobody walks around it) or proxy (anywhere, cooperative); empty lets artemis choose.
CAPTURE ?=
# builtin, or envoy (after `make envoy`): who does the waypoints' work.
WAYPOINT ?= builtin
GO_BUILD = CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

##@ One machine, no cluster (needs Go)

.PHONY: up
up: binaries ## start the whole mission and stay in front of it (STAGE=open|mtls|zero-trust)
	bin/artemis up --stage $(STAGE) --waypoint $(WAYPOINT) $(if $(CAPTURE),--capture $(CAPTURE))

.PHONY: up-detached
up-detached: binaries ## the same in the background (both: CAPTURE=proxy, WAYPOINT=envoy)
	bin/artemis up --detach --stage $(STAGE) --waypoint $(WAYPOINT) $(if $(CAPTURE),--capture $(CAPTURE))

.PHONY: down
down: binaries ## stop it
	bin/artemis down

.PHONY: status
status: binaries ## what runs, by which protocol, with which identity
	@scripts/where.sh status

.PHONY: stage-open stage-mtls stage-zero-trust
stage-open: binaries ## no mesh: plain Cells, plaintext
	@scripts/where.sh stage open
stage-mtls: binaries ## layer 2 on: identity and encryption
	@scripts/where.sh stage mtls
stage-zero-trust: binaries ## layer 3 on: who may do what
	@scripts/where.sh stage zero-trust

.PHONY: attack
attack: binaries ## play the campaign at the present stage; fails on an unexpected verdict
	@scripts/where.sh attack

.PHONY: attack-all
attack-all: binaries ## play it at all three stages, one after the other
	@scripts/where.sh attack --all-stages

.PHONY: attacks-doc
attacks-doc: binaries ## write docs/attacks.md from the campaign and a run at all three stages
	bin/artemis attack --all-stages --markdown docs/attacks.md

.PHONY: policy-lint
policy-lint: binaries ## what the policies attach to, and how they could be walked around
	bin/artemis lint openchoreo/rendered istio/cells

.PHONY: prove
prove: binaries ## for every request: nobody but the callers of the table gets in (LONG=1)
	@scripts/prove.sh $(if $(LONG),--long)

.PHONY: envoy
envoy: ## what WAYPOINT=envoy needs: real Envoy, and istiod's code to configure it
	scripts/envoy.sh

.PHONY: binaries
binaries: ## bin/service (the eighteen services) and bin/artemis (the launcher)
	@mkdir -p bin
	@[[ -e bin/artemis ]] || echo "building bin/service and bin/artemis; the first time takes a few minutes" >&2
	@scripts/aloud.sh "still building bin/service" env $(GO_BUILD) -o bin/service ./service >&2
	@scripts/aloud.sh "still building bin/artemis" env $(GO_BUILD) -o bin/artemis ./local >&2

##@ Kubernetes (needs Docker, k3d, kubectl, helm; see docs/kubernetes.md)

.PHONY: k3d-up
k3d-up: ## a k3d cluster with Istio ambient and OpenChoreo (PROFILE=full: its portal)
	scripts/k3d-up.sh

.PHONY: build
build: ## build the image with ko and bring it into the cluster
	scripts/build.sh

.PHONY: deploy
deploy: ## the mission onto the cluster, through OpenChoreo
	scripts/deploy.sh

.PHONY: deploy-plain
deploy-plain: ## the rendered manifests onto any Kubernetes with Istio ambient
	scripts/deploy-plain.sh

.PHONY: adversary
adversary: ## the attacker's pods onto the cluster
	scripts/adversary.sh

.PHONY: verify
verify: ## check enrolment, identities, policies, bypasses and encryption there
	scripts/verify.sh

.PHONY: undeploy
undeploy: ## the mission and the attacker off the cluster again
	scripts/undeploy.sh

.PHONY: k3d-down
k3d-down: ## delete the cluster and everything that k3d-up made
	scripts/k3d-down.sh

.PHONY: outdated
outdated: ## newer versions of what is pinned, and why the pinned ones stay
	scripts/outdated.sh

##@ Checks

.PHONY: test
test: ## the tests: Go alone, under three minutes
	scripts/aloud.sh "still compiling for go vet" go vet -race ./...
	@# The race detector has every program that ends well, tests too, wait for a second unless it is told.
	GORACE=atexit_sleep_ms=0 scripts/aloud.sh "still compiling or testing" go test -race ./...

.PHONY: check
check: ## between two edits: build, vet, staticcheck, the tests without processes
	scripts/check.sh

.PHONY: cover
cover: ## how much of each package the tests run, also in the programs they start
	scripts/cover.sh

.PHONY: conformance
conformance: ## the manifests against OpenChoreo, Istio and Envoy themselves; builds them
	scripts/conformance.sh

.PHONY: render
render: ## have the real OpenChoreo render into openchoreo/rendered and istio/
	scripts/render.sh

.PHONY: e2e
e2e: ## the dashboard in a real Chromium, with axe
	scripts/e2e.sh

.PHONY: faults
faults: binaries ## the fault suite on the local system (DURATION=30m for the long run)
	scripts/faults.sh

.PHONY: fuzz
fuzz: ## arbitrary input to every parser that meets the network (FUZZTIME=10s each)
	scripts/fuzz.sh

.PHONY: vulnerabilities
vulnerabilities: ## known vulnerabilities in what is linked (by govulncheck; GOVULNDB)
	scripts/vulnerabilities.sh

.PHONY: bench
bench: binaries ## all figures of docs/performance.md, as ratios within one run
	scripts/bench.sh

.PHONY: lint
lint: ## gofmt, vet, staticcheck, shellcheck, yamllint, links
	scripts/lint.sh

.PHONY: docs-check
docs-check: binaries ## run the commands of the pages and compare what they print
	scripts/docs-check.sh

.PHONY: release-check
release-check: ## version, changelog, licences, SBOM, reproducible build, clean tree
	scripts/release-check.sh

.PHONY: release
release: ## archives for linux and darwin, SBOMs, checksums, into dist/ (VERSION=...)
	VERSION=$(VERSION) scripts/release.sh

.PHONY: clean
clean: ## remove what was built here
	rm -rf bin dist .artemis

.PHONY: help
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+( [a-z0-9-]+)*:.*## / { split($$1, t, " "); printf "  make %-16s %s\n", t[1], $$2 }' $(firstword $(MAKEFILE_LIST))
