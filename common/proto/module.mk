LAYERS += proto
proto_SRC := $(wildcard common/proto/*.c)

# Interface descriptions become C strings: "varlink/io.handfast.Relay.h" defines
# varlink_io_handfast_Relay[].
VARLINK_IDL := $(wildcard common/proto/varlink/*.varlink)
VARLINK_GEN := $(VARLINK_IDL:common/proto/varlink/%.varlink=$(BUILD)/gen/varlink/%.h)

$(BUILD)/gen/varlink/%.h: common/proto/varlink/%.varlink
	@mkdir -p $(@D)
	@{ echo '#pragma once'; echo 'static const char varlink_$(subst .,_,$*)[] ='; \
	sed -e 's/[\\"]/\\&/g' -e 's/^/	"/' -e 's/$$/\\n"/' $<; echo '	;'; } >$@

GENERATED += $(VARLINK_GEN)
