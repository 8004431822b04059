# Each tests/bench/NAME.c is a load generator or measuring program, linked with all of common/.
BENCH_SRC := $(wildcard tests/bench/*.c)
BENCH_PROGRAMS := $(patsubst tests/bench/%.c,$(BUILD)/tests/bench/%,$(BENCH_SRC))

$(BENCH_PROGRAMS): $(BUILD)/tests/bench/%: $(BUILD)/obj/tests/bench/%.o $$(LAYER_LIBS)
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(ALL_LIBS)

# pskd without encryption, for its ceiling: never installed, and no option leads there. Its bulk.o comes before
# the library that has the real one.
PSKD_PLAIN := $(BUILD)/tests/bench/pskd-plain
$(PSKD_PLAIN): $(BUILD)/obj/daemons/pskd/main.o $(BUILD)/obj/tests/bench/plain/bulk.o $(BUILD)/lib/libd_pskd.a $$(LAYER_LIBS)
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %/libd_%.a,$^) \
		-Wl,--start-group $(filter-out %/libd_%.a,$(filter %.a,$^)) -Wl,--end-group $(ALL_LIBS)

benches: $(BENCH_PROGRAMS) $(PSKD_PLAIN)
.PHONY: benches
