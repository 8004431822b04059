/* conf/pskd.yaml and pskd.yaml(5) against the table of pskd's options. */
#include "unit/lib/test.h"

#include "config/config.h"
#include "pskd/config.h"
#include "unit/lib/conf.h"

TEST(pskd_yaml_shows_every_option_at_its_default)
{
	test_conf_shows_the_defaults(&pskd_schema, "conf/pskd.yaml");
}

TEST(pskd_yaml_5_tells_every_option_and_its_default)
{
	test_manual_tells_every_option(&pskd_schema, "man/pskd.yaml.5");
}
