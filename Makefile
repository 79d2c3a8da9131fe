# Everything that is done to spindle by hand or by a machine. `make` lists it.

STYLE := --config max_width=120,use_small_heuristics=Max
CARGO ?= cargo

.PHONY: help run-two test check fmt bench soak mutants

help: ## list what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | awk -F '\t' '{ printf "make %-8s  %s\n", $$1, $$2 }'

run-two: ## two nodes, two wallets and a payment in one terminal until Ctrl-C; BLOCKS=20 ends at that height
	@$(CARGO) build --quiet
	@tests/run-two.sh $(BLOCKS)

test: ## every test
	$(CARGO) test

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
