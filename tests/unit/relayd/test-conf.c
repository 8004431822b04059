/* conf/relayd.yaml and relayd.yaml(5) against the table of relayd's options. */
#include "unit/lib/test.h"

#include "config/config.h"
#include "relayd/config.h"
#include "unit/lib/conf.h"

TEST(relayd_yaml_shows_every_option_at_its_default)
{
	test_conf_shows_the_defaults(&relayd_schema, "conf/relayd.yaml");
}

TEST(relayd_yaml_5_tells_every_option_and_its_default)
{
	test_manual_tells_every_option(&relayd_schema, "man/relayd.yaml.5");
}
