# make adversary SECONDS=N SEED=S [ONLY=N|tN]: the hostile relay and the hostile network, tests/adversary/run.

# pairingd as a later version may be: it offers a stronger profile before today's, so that there is one to strip.
TWO_PROFILES := $(BUILD)/tests/tools/pairingd-two-profiles
$(BUILD)/gen/two-profiles.c: daemons/pairingd/pairing.c tests/adversary/module.mk
	@mkdir -p $(@D)
	@sed 's/{ "v40-spake2-x25519", PAIRING_SUITE_SPAKE2_X25519 },/{ "v50-spake2-x25519", PAIRING_SUITE_SPAKE2_X25519 }, &/' $< >$@
	@grep -q v50-spake2 $@
$(BUILD)/obj/tests/adversary/two-profiles.o: $(BUILD)/gen/two-profiles.c config.mk | $$(GENERATED)
	@mkdir -p $(@D)
	@$(SAY) "  CC      $<"
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<
$(TWO_PROFILES): $(BUILD)/obj/tests/adversary/two-profiles.o $(BUILD)/obj/daemons/pairingd/main.o $(BUILD)/lib/libd_pairingd.a $$(LAYER_LIBS)
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %/libd_%.a,$^) \
		-Wl,--start-group $(filter-out %/libd_%.a,$(filter %.a,$^)) -Wl,--end-group $(ALL_LIBS)

tools: $(TWO_PROFILES)

SEED ?=
ONLY ?=
adversary: deps-test
	@$(MAKE) --no-print-directory all tools
	@HANDFAST_BUILD=$(abspath $(BUILD)) PYTHONPATH=tests/system/lib PYTHONDONTWRITEBYTECODE=1 \
		$(PYTHON) tests/adversary/run $(SECONDS) $(SEED) $(if $(ONLY),--only $(ONLY))
.PHONY: adversary
