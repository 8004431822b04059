# Each tests/fuzz/AREA/fuzz-*.c holds one LLVMFuzzerTestOneInput; its seeds are in
# tests/fuzz/corpus/NAME/. The fuzzers are built with clang in a build tree of their own.
FUZZ_SRC := $(wildcard tests/fuzz/*/fuzz-*.c)
FUZZERS := $(patsubst tests/fuzz/%.c,$(BUILD)/tests/fuzz/%,$(FUZZ_SRC))
fuzz_area = $(word 3,$(subst /, ,$(patsubst $(BUILD)/%,%,$(1))))
fuzz_daemon = $(if $(filter $(call fuzz_area,$(1)),$(PROGRAMS)),$(BUILD)/lib/libd_$(call fuzz_area,$(1)).a)

$(FUZZERS): $(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $$(call fuzz_daemon,$$@) $$(LAYER_LIBS)
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(filter %/libd_%.a,$^) \
		-Wl,--start-group $(filter-out %/libd_%.a,$(filter %.a,$^)) -Wl,--end-group $(ALL_LIBS)

fuzzers: $(FUZZERS)

# The second build is for the bulk of a campaign: what is undefined traps, and asserts hold.
FUZZ_ASAN = BUILD=$(BUILD)/fuzz CC=clang CFLAGS="-O1 -g -fsanitize=fuzzer-no-link" SANITIZE=address,undefined
FUZZ_FAST = BUILD=$(BUILD)/fuzz-fast CC=clang CFLAGS="-O2 -g -fsanitize=fuzzer-no-link,undefined -fsanitize-trap=undefined"
FUZZ_COV = BUILD=$(BUILD)/fuzz-cov CC=clang CFLAGS="-O1 -g -fsanitize=fuzzer-no-link -fprofile-instr-generate -fcoverage-mapping" \
	LDFLAGS=-fprofile-instr-generate
RUNS :=
TARGETS :=

# FUZZ_ALSO: what else to build with the sanitizers there.
FUZZ_ALSO :=
fuzz-programs:
	@$(MAKE) --no-print-directory $(FUZZ_ASAN) fuzzers $(FUZZ_ALSO)

fuzz: fuzz-programs
ifeq ($(filter-out 0,$(RUNS)),)
	@tests/fuzz/run $(BUILD)/fuzz/tests/fuzz $(or $(RUNS),$(SECONDS)) $(TARGETS)
else
	@$(MAKE) --no-print-directory $(FUZZ_FAST) fuzzers
	@tests/fuzz/campaign $(BUILD) $(RUNS) $(TARGETS)
endif

fuzz-coverage:
	@$(MAKE) --no-print-directory $(FUZZ_COV) fuzzers
	@tests/fuzz/coverage $(BUILD) $(TARGETS)
.PHONY: fuzzers fuzz-programs fuzz-coverage
