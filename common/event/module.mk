LAYERS += event
event_SRC := $(wildcard common/event/*.c)
