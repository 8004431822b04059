# Constant time: tests/ct/AREA.c makes secrets of one daemon, or of common/, and runs what
# works on them under valgrind (tests/ct/run). CT_WRAP: functions of ours that ct.c looks
# through, because what they give is random (secret) or an answer that everybody sees (public).
CT_AREAS := $(patsubst tests/ct/%.c,%,$(filter-out tests/ct/ct.c,$(wildcard tests/ct/*.c)))
CT_PROGRAMS := $(CT_AREAS:%=$(BUILD)/tests/ct/%)

CT_WRAP_answers := bytes_equal sodium_is_zero aead_open bulk_open seal_open seal_blob_open \
	pskh_is_authentic x25519 spake2_new_seeded spake2_finish \
	group_check_scalar group_multiply group_invert group_public_key
CT_WRAP_public := sign_key_public pskh_encode psk2_header_encode crypto_hash_sha256_final \
	keys_hint sas_format transcript_add
CT_WRAP_secret := random_bytes random_bulk file_pread_all
CT_WRAP := $(CT_WRAP_secret) $(CT_WRAP_answers) $(CT_WRAP_public)
ct_wrap := $(foreach f,$(CT_WRAP),-Wl,--wrap=$(f))
ct_daemon = $(if $(filter $(1),$(PROGRAMS)),$(BUILD)/lib/libd_$(1).a)

$(CT_PROGRAMS): $(BUILD)/tests/ct/%: $(BUILD)/obj/tests/ct/%.o $(BUILD)/obj/tests/ct/ct.o $$(call ct_daemon,$$*) $$(LAYER_LIBS)
	@mkdir -p $(@D)
	@$(SAY) "  LINK    $@"
	$(Q)$(CC) $(ALL_LDFLAGS) $(ct_wrap) -o $@ $(filter %.o,$^) $(filter %/libd_%.a,$^) \
		-Wl,--start-group $(filter-out %/libd_%.a,$(filter %.a,$^)) -Wl,--end-group $(ALL_LIBS)

ct-programs: $(CT_PROGRAMS)
.PHONY: ct-programs
