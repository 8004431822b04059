PROGRAMS += relayd
relayd_SRC := $(wildcard daemons/relayd/*.c)
