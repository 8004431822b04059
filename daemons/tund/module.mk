PROGRAMS += tund
tund_SRC := $(wildcard daemons/tund/*.c)
