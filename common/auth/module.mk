LAYERS += auth
auth_SRC := $(wildcard common/auth/*.c)
