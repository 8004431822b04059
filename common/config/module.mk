LAYERS += config
config_SRC := $(wildcard common/config/*.c)
