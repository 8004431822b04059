LAYERS += crypto
crypto_SRC := $(wildcard common/crypto/*.c)
crypto_SRC += $(wildcard common/crypto/sodium-compat/*.c)
