LAYERS += http
http_SRC := $(wildcard common/http/*.c)
