PROGRAMS += pairingd
pairingd_SRC := $(wildcard daemons/pairingd/*.c)
