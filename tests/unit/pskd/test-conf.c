/* conf/pskd.yaml against the table of pskd's options. */
#include "unit/lib/test.h"

#include "config/config.h"
#include "pskd/config.h"
#include "unit/lib/conf.h"

TEST(pskd_yaml_shows_every_option_at_its_default)
{
	test_conf_shows_the_defaults(&pskd_schema, "conf/pskd.yaml");
}
