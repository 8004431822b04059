# Each tests/tools/NAME.c is a small program that system tests drive; it is linked with
# all of common/.
FAULT_INJECT := $(BUILD)/tests/tools/fault-inject.so
FAULT_POWERCUT := $(BUILD)/tests/tools/fault-powercut.so
TOOL_SO_SRC := $(addprefix tests/tools/,fault-inject.c fault-powercut.c wrong-ipsec-mb.c)
# Where its header is: amd64.
WRONG_IPSEC_MB := $(if $(wildcard /usr/include/intel-ipsec-mb.h),$(BUILD)/tests/tools/wrong-ipsec-mb.so)
TOOL_SRC := $(filter-out $(TOOL_SO_SRC),$(wildcard tests/tools/*.c))
TOOLS := $(patsubst tests/tools/%.c,$(BUILD)/tests/tools/%,$(TOOL_SRC))

$(TOOLS): $(BUILD)/tests/tools/%: $(BUILD)/obj/tests/tools/%.o $$(LAYER_LIBS)
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(ALL_LIBS)

# For LD_PRELOAD: of libc alone, and never with a sanitizer of its own.
$(FAULT_INJECT) $(FAULT_POWERCUT): $(BUILD)/tests/tools/%.so: tests/tools/%.c
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -g -Wall -Wextra $(if $(WERROR),-Werror) -fPIC -fvisibility=hidden \
		-shared -o $@ $< -ldl

# For LD_LIBRARY_PATH.
$(WRONG_IPSEC_MB): $(BUILD)/tests/tools/%.so: tests/tools/%.c
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE -O2 -g -Wall -Wextra $(if $(WERROR),-Werror) -fPIC -fvisibility=hidden \
		-shared -o $@ $< -lsodium

tools: $(TOOLS) $(FAULT_INJECT) $(FAULT_POWERCUT) $(WRONG_IPSEC_MB)
.PHONY: tools
