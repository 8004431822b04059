/* conf/relayd.yaml against the table of relayd's options. */
#include "unit/lib/test.h"

#include "config/config.h"
#include "relayd/config.h"
#include "unit/lib/conf.h"

TEST(relayd_yaml_shows_every_option_at_its_default)
{
	test_conf_shows_the_defaults(&relayd_schema, "conf/relayd.yaml");
}
