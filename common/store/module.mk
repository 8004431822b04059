LAYERS += store
store_SRC := $(wildcard common/store/*.c)
