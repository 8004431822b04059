# Manual pages: installed by make install, checked by tests/system.
MANPAGES := $(wildcard man/*.[1-8])
