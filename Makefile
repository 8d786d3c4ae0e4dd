# SPDX-License-Identifier: GPL-2.0
#
# oxtcp: what `make help` lists. Kbuild, beside this file, is what the kernel's build reads.

SHELL := /bin/bash
.DEFAULT_GOAL := all
MAKEFLAGS += --no-print-directory

B := $(CURDIR)/build
JOBS ?= $(shell nproc)

# With KDIR the module is built here against that tree; else in the Debian tree, against the stock kernel.
ifdef KDIR
RUN :=
CARGO := cargo
KBUILD_FLAGS = $(shell grep -qs '^CONFIG_CC_IS_CLANG=y' "$(KDIR)/.config" && echo LLVM=1)
STOCK := $(KDIR)
SETUP_tree := true
SETUP_kernel := true
else
RUN := scripts/in-tree
CARGO := scripts/in-tree cargo
KBUILD_FLAGS :=
STOCK = $$(scripts/where kernel)
SETUP_tree := scripts/setup tree
SETUP_kernel := scripts/setup kernel
endif
# Who is not root has no Debian tree, but may have a cargo for what needs no kernel.
ifneq ($(shell id -u),0)
ifneq ($(shell command -v cargo),)
CARGO := cargo
SETUP_tree := true
endif
endif
MODULE_MAKE = $(RUN) make -s -j$(JOBS) -C "$(STOCK)" M=$(CURDIR)
DEBUG_MAKE = scripts/in-tree make -s -j$(JOBS) -C "$$(scripts/where debug)" LLVM=1 M=$(CURDIR)

# Each cargo workspace has a target folder of its own: they are built side by side.
cargo = $(CARGO) $(1) --manifest-path $(2)/Cargo.toml --target-dir $(B)/cargo/$(subst /,-,$(2))

PHONY := all help

##@ Build

all: module tools ## the module (build/module/oxtcp.ko) and the tools (build/bin)

PHONY += module
module: ## the module for the stock kernel, or for KDIR=/path/to/a/prepared/kernel
	@$(SETUP_kernel)
	@mkdir -p $(B)/module
	@$(MODULE_MAKE) MO=$(B)/module $(KBUILD_FLAGS) modules
	@echo "  built   build/module/oxtcp.ko"

PHONY += tools
# The command runs on older systems than the one it is built on: it needs no library of theirs.
tools: ## the command-line tool and the preload library
	@$(SETUP_tree)
	@$(call cargo,build --release --quiet -p oxtcp-preload,tools)
	@$(call cargo,rustc --release --quiet -p oxtcp --bin oxtcp,tools) -- -C target-feature=+crt-static
	@mkdir -p $(B)/bin
	@for f in oxtcp liboxtcp_preload.so; do cp -u $(B)/cargo/tools/release/$$f $(B)/bin/; done
	@echo "  built   build/bin/oxtcp, build/bin/liboxtcp_preload.so"

PHONY += selftests
selftests:
	@$(SETUP_tree)
	@$(call cargo,build --release --quiet --bins,selftests)

PHONY += module-debug
module-debug:
	@scripts/setup debug
	@mkdir -p $(B)/module-debug
	@$(DEBUG_MAKE) MO=$(B)/module-debug modules

# What the virtual machine gets as /job: the module, bin/ with the tools, selftests/ with its programs.
PHONY += job job-debug
job: module tools selftests
	@scripts/setup vm
	@scripts/stage stock build/module

job-debug: module-debug tools selftests
	@scripts/stage debug build/module-debug

##@ Use

PHONY += demo
demo: job ## the module at work: unmodified programs through it, on the stock kernel in a virtual machine
	@scripts/vm run --timeout 300 --log $(B)/log/demo.log -- selftests/demo.sh

PHONY += shell
shell: ## a shell in a booted virtual machine, with the module loaded and the tools at hand; SCENARIO=flood, leak or loss
	@$(if $(SCENARIO),selftests/scenario.sh --check "$(SCENARIO)")
	@$(MAKE) job
	@scripts/vm shell $(if $(SCENARIO),--env VM_SCENARIO=$(SCENARIO))

# Both take PREFIX=/usr and DESTDIR=/path.
PHONY += install uninstall
install: all ## module, command, man pages, shell completions where Debian looks for them; PREFIX=/usr/local, DESTDIR=
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" scripts/install

uninstall: ## takes away what install has put there
	@DESTDIR="$(DESTDIR)" PREFIX="$(PREFIX)" scripts/install --remove

PHONY += bench
bench: job ## instructions per byte, per request, per connection, beside the built-in TCP (virtual time)
	@scripts/vm run --mode icount --smp 1 --timeout 3000 --out $(B)/bench --log $(B)/log/bench.log -- selftests/bench/run.sh

PHONY += profile
WORK ?= connect/close
profile: job ## in which functions the instructions of a line of bench go; WORK='request/response IPv6' FUNCTIONS=60
	@scripts/profile "$(WORK)" $(FUNCTIONS)

# GOODPUT_ROUNDS=2 takes half of the time, and -j2 again.
GOODPUT_PARTS := goodput-0 goodput-1 goodput-share
PHONY += goodput $(GOODPUT_PARTS)
goodput: $(GOODPUT_PARTS) ## what arrives over bad networks, beside the built-in TCP (virtual time); writes Documentation/goodput.md
	@scripts/goodput-paper $(GOODPUT_PARTS:%=$(B)/%/goodput.txt)

$(GOODPUT_PARTS): goodput-%: job
	@scripts/vm run --mode icount --smp 1 --module --timeout 7200 --env GOODPUT_ROUNDS=$(or $(GOODPUT_ROUNDS),3) --out $(B)/$@ --log $(B)/log/$@.log -- \
		"selftests/bench/goodput.sh $*"

# FLOOD_CLIENTS=50 takes less time.
PHONY += floods
floods: job ## what segments of floods cost, who gets in meanwhile, and what they take, beside the built-in TCP (virtual time); writes Documentation/floods.md
	@scripts/vm run --mode icount --smp 1 --module --timeout 3000 --env FLOOD_CLIENTS=$(or $(FLOOD_CLIENTS),100) --out $(B)/floods --log $(B)/log/floods.log -- \
		"selftests/bench/floods.sh"
	@scripts/floods-paper $(B)/floods/floods.txt

PHONY += sockets
sockets: job ## what listing 100,000 sockets costs, beside the built-in TCP (virtual time); writes Documentation/sockets.md
	@scripts/vm run --mode icount --smp 1 --mem 3072 --module --timeout 3000 --env SOCKETS="$(or $(SOCKETS),1000 10000 100000)" --out $(B)/sockets --log $(B)/log/sockets.log -- \
		"selftests/bench/sockets.sh"
	@scripts/sockets-paper $(B)/sockets/sockets.txt

##@ Tests

PHONY += check
check: ## fmt-check, clippy, no-panics, then side by side kselftest and test, and debug-check; ends with `N passed, N failed`
	@scripts/check fmt-check clippy no-panics job job-debug -- kselftest test -- debug-check

PHONY += no-panics
no-panics: module ## that nothing in the engine can panic: its object calls no function that does
	@$(RUN) scripts/no-panics $(B)/module/rust/engine/src/lib.o

PHONY += test
test: ## on the host: the engine's and the tools' tests
	@$(SETUP_tree)
	$(call cargo,test --quiet,rust/engine)
	$(call cargo,test --quiet,rust/engine/model)
	$(call cargo,test --quiet,tools)
	$(call cargo,test --quiet,conformance)
	@$(MAKE) packetdrill

# Any rustc does, with a C++ compiler beside it: libFuzzer is built.
RUNS ?= 1000000
PHONY += fuzz
fuzz: ## feeds the engine what libFuzzer finds; TARGET=connection, conversation or options, of the tools btf, capture, files, filter, layout, netlink, profile, program, ring, table or trace; RUNS=1000000
	@OXTCP_FUZZ_DIR=$(B)/fuzz $(if $(shell command -v cargo),,$(RUN)) scripts/fuzz $(or $(TARGET),connection) -runs=$(RUNS)

PHONY += model
model: ## every interleaving of a lossy channel between two ends, DEPTH=5 operations deep (make test: 4)
	@$(SETUP_tree)
	@$(call cargo,run --quiet --release,rust/engine/model) -- $(or $(DEPTH),5)

# The scripts are in the kernel's source; who has none goes without.
PACKETDRILL = $$(scripts/where source 2>/dev/null)/tools/testing/selftests/net/packetdrill
PHONY += packetdrill
packetdrill:
	@if [ -d "$(PACKETDRILL)" ]; then \
		$(call cargo,run --quiet,conformance) -- --scripts "$(PACKETDRILL)" --catalogue conformance/scripts.tsv --quiet; \
	else echo "  skipped packetdrill's scripts: no kernel source here (make setup)"; fi

# What the virtual machine gets for them: the module, the runner and the scripts.
PHONY += job-conformance
job-conformance: module
	@scripts/setup vm
	@$(call cargo,build --release --quiet,conformance)
	@scripts/stage-conformance "$(PACKETDRILL)" build/module

# Of the changes of a script each is tried on the engine, and so many on each TCP in a kernel, where one takes a
# quarter of a second.
MUTANTS ?= 2
CONFORMANCE = $(call cargo,run --quiet --release,conformance) -- --scripts "$(PACKETDRILL)" --catalogue conformance/scripts.tsv

PHONY += conformance
conformance: job-conformance ## packetdrill's scripts on the engine and in a kernel, changes of them, and Documentation/conformance.md; SCRIPTS='a b', BLESS=1
	@code=0; rm -rf $(B)/conformance; mkdir -p $(B)/conformance; \
	$(CONFORMANCE) --mutate $(SCRIPTS) || code=1; \
	scripts/vm run --mode icount --smp 1 --module --timeout 3000 --job $(B)/job/conformance --out $(B)/conformance \
		--log $(B)/log/conformance.log -- "./in-guest.sh $(MUTANTS) $(SCRIPTS)" || code=1; \
	$(CONFORMANCE) --quiet $(if $(BLESS),--bless) --module-results $(B)/conformance/module.tsv \
		--builtin-results $(B)/conformance/builtin.tsv $(if $(SCRIPTS),,--table Documentation/conformance.md) $(SCRIPTS) || code=1; \
	exit $$code

# What the built-in TCP does, the module is compared with in the same kernel, and the engine on the host.
SEEDS ?= 200
FIRST ?= 0
DIFFERENTIAL = $(call cargo,run --quiet --bin differential,conformance) -- --first $(FIRST) --count $(SEEDS) --against $(B)/differential/builtin.txt
PHONY += differential
differential: job-conformance ## random conversations with the built-in TCP, the module and the engine, compared; FIRST=0 SEEDS=200
	@code=0; rm -rf $(B)/differential; mkdir -p $(B)/differential; \
	$(call cargo,run --quiet --bin differential,conformance) -- --table Documentation/differential.md || code=1; \
	scripts/vm run --mode icount --smp 1 --module --timeout 3000 --job $(B)/job/conformance --out $(B)/differential \
		--log $(B)/log/differential.log -- "./differential.sh $(FIRST) $(SEEDS)" || code=1; \
	echo "# the module:"; $(DIFFERENTIAL) --records $(B)/differential/module.txt || code=1; \
	echo "# the engine:"; $(DIFFERENTIAL) || code=1; \
	exit $$code

# Deadlines that only a hang reaches, on slow machines too.
STOCK_ENV := --env OXTCP_WAIT=60 --env OXTCP_DEADLINE=240
# A debug kernel is many times slower: of the socket tests those between ourselves. DEBUG_TESTS= (empty) and
# DEBUG_LOADS=1000 take an hour and more.
DEBUG_TESTS ?= sizes socket_api connect/ours_to_ours close/ours_to_ours ports/ipv4.connect queues/ipv4.ours_to_ours \
	data/ipv4.ours_to_ours window/ipv4.ours_to_ours window/read_in_part urgent/ipv4.ours_to_ours timestamps/ipv4.ours_to_ours auth/ours_to_ours ao/ours_to_ours syncookies \
	fast_cookies/clients strays/ipv4 listen/ipv4.ours_to_ours hostile/listen__ reflector/ipv4 trace/ipv4 trace/end faults module
DEBUG_LOADS ?= 50
# A load takes a second and a half.
DEBUG_ENV = --env OXTCP_WAIT=180 --env OXTCP_DEADLINE=$$((900 + 3 * $(DEBUG_LOADS))) --env OXTCP_LOADS=$(DEBUG_LOADS)

PHONY += kselftest
kselftest: job ## the kselftests on the stock kernel, and that make install installs; TESTS='a b' takes some of them
	@code=0; \
	$(if $(TESTS),,scripts/test-install || code=1;) \
	scripts/vm run --module --timeout 4500 --log $(B)/log/kselftest.log $(STOCK_ENV) -- "selftests/run_all.sh --again $(TESTS)" || code=1; \
	$(if $(TESTS),,scripts/vm run --module --append ipv6.disable=1 --log $(B)/log/without-ipv6.log --env OXTCP_WITHOUT_IPV6=1 $(STOCK_ENV) -- "selftests/run_all.sh without_ipv6" || code=1;) \
	exit $$code

PHONY += debug-check
debug-check: job-debug ## kselftests on the debug kernel (DEBUG_TESTS), the search for leaks, and (without TESTS) the planted bugs
	@code=0; \
	scripts/vm run --kernel debug --module --timeout 4500 --log $(B)/log/debug-check.log $(DEBUG_ENV) -- "selftests/run_all.sh --again $(or $(TESTS),$(DEBUG_TESTS))" || code=1; \
	$(if $(TESTS),,$(MAKE) planted || code=1;) \
	exit $$code

PHONY += planted
planted: ## that the log scan sees bugs: a module plants one after the other in a boot of the debug kernel
	@scripts/setup debug
	@mkdir -p $(B)/planted
	@scripts/in-tree make -s -C "$$(scripts/where debug)" LLVM=1 M=$(CURDIR)/selftests/planted MO=$(B)/planted modules
	@scripts/planted $(B)/planted

##@ Code

PHONY += fmt fmt-check
fmt: ## formats the Rust code, with the kernel's settings
	@$(SETUP_tree)
	@find rust tools selftests conformance -name target -prune -o -name '*.rs' -print0 | xargs -0 -r $(RUN) rustfmt --config-path .rustfmt.toml

fmt-check: ## says what is not formatted, and whether Documentation/rfc.md is as the sources have it
	@$(SETUP_tree)
	@$(RUN) scripts/rfc-table --check
	@find rust tools selftests conformance -name target -prune -o -name '*.rs' -print0 | xargs -0 -r $(RUN) rustfmt --check --config-path .rustfmt.toml

PHONY += rfc
rfc: ## Documentation/rfc.md anew, from the comments: which rule of which RFC stands where, its tests, the deviations
	@$(SETUP_tree)
	@$(RUN) scripts/rfc-table

PHONY += clippy
clippy: ## clippy: the kernel's lints on the module, cargo's on the engine, the tools and the self-tests
	@$(SETUP_kernel)
	@mkdir -p $(B)/clippy
	@scripts/no-warnings $(B)/clippy -- $(MODULE_MAKE) MO=$(B)/clippy $(KBUILD_FLAGS) CLIPPY=1 modules
	@$(call cargo,clippy --quiet --all-targets,rust/engine) -- -D warnings
	@$(call cargo,clippy --quiet --all-targets,rust/engine/model) -- -D warnings
	@$(call cargo,clippy --quiet --all-targets,tools) -- -D warnings
	@$(call cargo,clippy --quiet --all-targets,selftests) -- -D warnings
	@$(call cargo,clippy --quiet --all-targets,conformance) -- -D warnings

PHONY += rust-analyzer
rust-analyzer: module ## rust-project.json for the editor's language server
	@mkdir -p $(B)/analyzer
	@$(MODULE_MAKE) MO=$(B)/module $(KBUILD_FLAGS) rust-analyzer
	@$(RUN) python3 scripts/rust-analyzer.py $(B)/module/rust-project.json $(B)/module rust-project.json

PHONY += doctor
doctor: ## says what a kernel lacks to build and load the module: KDIR=, or this machine's, or the stock one
	@$(if $(KDIR),,$(if $(wildcard /lib/modules/$(shell uname -r)/build),,$(SETUP_kernel) && $(RUN))) scripts/doctor $(if $(KDIR),$(KDIR),$(if $(wildcard /lib/modules/$(shell uname -r)/build),,$(STOCK)))

##@ Housekeeping

PHONY += setup
setup: ## makes the cache: tree, stock kernel, virtual machine, debug kernel
	@scripts/setup debug

PHONY += versions
versions: ## the kernel and the toolchain that were chosen
	@cat "$$(scripts/where cache)/versions"

PHONY += clean
clean: ## removes build/; the cache stays
	@rm -rf build rust-project.json

PHONY += distclean
distclean: clean ## removes the cache too: the next build downloads and makes it anew
	@scripts/setup remove

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile
	@printf '\nSettings: KDIR=/path (a prepared kernel), OXTCP_CACHE=/path, OXTCP_KERNEL=7.2.12, OXTCP_MIRROR=URL, TESTS="..."\n'

.PHONY: $(PHONY)
