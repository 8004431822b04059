PROGRAMS += ctl
ctl_SRC := $(wildcard daemons/ctl/*.c daemons/ctl/*/*.c)
ctl_BIN := handfast
