PROGRAMS += authd
authd_SRC := $(wildcard daemons/authd/*.c)
