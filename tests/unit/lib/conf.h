/* The shipped configuration file of a daemon, held to the daemon's own table. */
#pragma once

struct config_schema;

/*
 * Fail unless the file at path, as shipped, gives exactly the defaults; with
 * its options uncommented is accepted and gives each option that has a default
 * that default; and shows every option of the table.
 */
void test_conf_shows_the_defaults(const struct config_schema *s, const char *path);

/* Fail unless the manual page at path has every option of the table as ".It Cm key", with its default. */
void test_manual_tells_every_option(const struct config_schema *s, const char *path);
