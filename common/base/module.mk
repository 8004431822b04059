LAYERS += base
base_SRC := $(wildcard common/base/*.c)
