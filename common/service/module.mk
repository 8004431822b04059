LAYERS += service
service_SRC := $(wildcard common/service/*.c)
