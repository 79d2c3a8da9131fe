# Everything that is done to spindle by hand or by a machine. `make` lists it.

STYLE := --config max_width=120,use_small_heuristics=Max
CARGO ?= cargo

.PHONY: help run-two test test-clients test-page check fmt bench soak schedules fuzz five power mutants

help: ## list what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{ printf "make %-12s  %s\n", $$1, $$2 }'

run-two: ## two nodes, two wallets and a payment in one terminal until Ctrl-C; BLOCKS=20 ends at that height
	@$(CARGO) build --quiet
	@tests/run-two.sh $(BLOCKS)

test: ## every test
	$(CARGO) test

test-clients: ## programs that others wrote for monerod, against a node: installs what it lacks
	@CARGO="$(CARGO)" tests/clients/run.sh

test-page: ## the page in a real Chromium without a screen, which is installed if it is missing; SHOTS=DIR keeps pictures
	@CARGO="$(CARGO)" tests/page/run.sh

check: ## what CI runs: form, lints, tests, documentation
	$(CARGO) fmt -- --check $(STYLE)
	$(CARGO) clippy --all-targets -- -D warnings
	$(CARGO) test
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

fmt: ## bring the sources into form
	$(CARGO) fmt -- $(STYLE)

bench: ## measure, and print one table
	$(CARGO) bench --bench figures

mutants: ## put one bug after the other into a copy of the sources and let the simulator look for it; ONLY="07 12"
	@tests/mutants/run.sh

soak: ## simulate SEEDS=1000 networks from FIRST=0 on; stops at the first that fails and says how to see it again
	$(CARGO) run --release --quiet -- simulate --seeds $(or $(SEEDS),1000) --seed $(or $(FIRST),0)

schedules: ## explore SCHEDULES=100000 orders in which threads can meet, of each story in tests/schedules
	SCHEDULES=$(or $(SCHEDULES),100000) $(CARGO) test --test schedules -- --nocapture

fuzz: ## run each fuzz target for SECONDS=60, or TARGET=name alone; under the address sanitizer if there is a nightly Rust
	@tests/fuzz/run.sh $(or $(SECONDS),60) $(TARGET)

power: ## cut the power at each call, up to POWER=4096 mixtures of sectors or all; spoil every bit; KILLS=1000 processes
	POWER=$(or $(POWER),4096) KILLS=$(or $(KILLS),1000) $(CARGO) test --test power --test crash -- --nocapture

five: ## five release binaries that are cut, stopped and killed for ROUNDS=25 rounds, in a row and in a ring; SEED=1
	FIVE_ROUNDS=$(or $(ROUNDS),25) FIVE_SEED=$(or $(SEED),1) $(CARGO) test --release --test five -- --nocapture
