# Each tests/tools/NAME.c is a small program that system tests drive; it is linked with
# all of common/.
TOOL_SRC := $(wildcard tests/tools/*.c)
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tests/tools/%,$(TOOL_SRC))

$(TOOLS): $(BUILD)/tests/tools/%: $(BUILD)/obj/tests/tools/%.o $$(LAYER_LIBS)
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(ALL_LIBS)

tools: $(TOOLS)
.PHONY: tools
