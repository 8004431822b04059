# Compiler, flags and libraries. Everything here can be set on the command line:
# make CC=clang, make SANITIZE=address,undefined BUILD=build/asan, make WERROR=1.

CC ?= gcc
ifeq ($(origin CC),default)
CC := gcc
endif
AR ?= ar
V ?= 0
Q := $(if $(filter 1,$(V)),,@)
SAY := $(if $(filter 1,$(V)),true,echo)

CFLAGS ?= -O2 -g
SANITIZE ?=
WERROR ?=
COVERAGE ?=

PKGS := libevent libevent_pthreads libsodium libmicrohttpd jansson yaml-0.1 libsystemd sqlite3 gnutls
PKGS_TLS := libevent_openssl openssl
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(PKGS) $(PKGS_TLS) 2>/dev/null)
PKG_LIBS := $(shell $(PKG_CONFIG) --libs $(PKGS) $(PKGS_TLS) 2>/dev/null)
# Debian ships libwslay without a .pc file.
PKG_LIBS += -lwslay

cc_option = $(shell echo 'int x;' | $(CC) -Werror $(1) -c -x c -o /dev/null - 2>/dev/null && echo '$(1)')

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wvla -Wformat=2 -Wundef -Wpointer-arith -Wwrite-strings -Wcast-align -Wno-missing-field-initializers \
	$(if $(WERROR),-Werror)
HARDENING := -fPIE -fstack-protector-strong $(call cc_option,-fstack-clash-protection) \
	$(call cc_option,-fcf-protection) $(call cc_option,-mbranch-protection=standard) \
	$(call cc_option,-ftrivial-auto-var-init=zero) -fno-delete-null-pointer-checks -fno-strict-overflow
ifeq ($(SANITIZE),)
ifneq ($(findstring -O,$(CFLAGS)),)
HARDENING += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
endif
SAN_FLAGS :=
else
SAN_FLAGS := -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -fno-sanitize-recover=all
endif
COV_FLAGS := $(if $(COVERAGE),--coverage -O0)

ALL_CPPFLAGS := -D_GNU_SOURCE -DHANDFAST_VERSION='"$(VERSION)"' -Icommon -Idaemons -Itests -I$(BUILD)/gen $(PKG_CFLAGS) $(CPPFLAGS)
ALL_CFLAGS := -std=gnu17 -pthread $(WARNINGS) $(HARDENING) $(CFLAGS) $(SAN_FLAGS) $(COV_FLAGS)
ALL_LDFLAGS := -pthread -pie -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--as-needed $(LDFLAGS) $(SAN_FLAGS) $(COV_FLAGS)
ALL_LIBS := $(PKG_LIBS) $(LIBS)
