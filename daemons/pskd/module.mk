PROGRAMS += pskd
pskd_SRC := $(wildcard daemons/pskd/*.c daemons/pskd/*/*.c)
