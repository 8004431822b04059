# Each tests/unit/AREA/test-*.c is a program of its own; where AREA is a daemon it is
# linked with all of that daemon but its main.c.
UNIT_SRC := $(wildcard tests/unit/*/test-*.c)
UNIT_TESTS := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(UNIT_SRC))
UNIT_COMMON := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/unit/lib/*.c))

unit_area = $(word 2,$(subst /, ,$(patsubst $(BUILD)/tests/%,%,$(1))))
unit_daemon = $(if $(filter $(call unit_area,$(1)),$(PROGRAMS)),$(BUILD)/lib/libd_$(call unit_area,$(1)).a)

$(UNIT_TESTS): $(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $$(UNIT_COMMON) $$(call unit_daemon,$$@) $$(LAYER_LIBS)
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) $(UNIT_LDFLAGS) -o $@ $(filter %.o,$^) $(filter %/libd_%.a,$^) \
		-Wl,--start-group $(filter-out %/libd_%.a,$(filter %.a,$^)) -Wl,--end-group $(ALL_LIBS)

# Those named test-fail see calls of the C library fail: tests/unit/fail/fail.h.
UNIT_FAIL := $(filter %/test-fail,$(UNIT_TESTS))
UNIT_WRAP := malloc calloc realloc strdup strndup write pwrite fsync fdatasync rename link linkat mkdir fallocate mkostemp \
	read pread fstat opendir open sqlite3_prepare_v3 sqlite3_step sqlite3_exec sqlite3_wal_checkpoint_v2
$(UNIT_FAIL): $(BUILD)/obj/tests/unit/fail/fail.o
$(UNIT_FAIL): UNIT_LDFLAGS := $(foreach f,$(UNIT_WRAP),-Wl,--wrap=$(f))

unit-tests: $(UNIT_TESTS)
.PHONY: unit-tests
