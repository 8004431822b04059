/* conf/authd.yaml and authd.yaml(5) against the table of authd's options. */
#include "unit/lib/test.h"

#include "config/config.h"
#include "authd/config.h"
#include "unit/lib/conf.h"

TEST(authd_yaml_shows_every_option_at_its_default)
{
	test_conf_shows_the_defaults(&authd_config_schema, "conf/authd.yaml");
}

TEST(authd_yaml_5_tells_every_option)
{
	test_manual_tells_every_option(&authd_config_schema, "man/authd.yaml.5");
}
