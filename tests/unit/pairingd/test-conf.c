/* conf/pairingd.yaml and pairingd.yaml(5) against the table of pairingd's options. */
#include "unit/lib/test.h"

#include "config/config.h"
#include "pairingd/config.h"
#include "unit/lib/conf.h"

TEST(pairingd_yaml_shows_every_option_at_its_default)
{
	test_conf_shows_the_defaults(&pairingd_config_schema, "conf/pairingd.yaml");
}

TEST(pairingd_yaml_5_tells_every_option_and_its_default)
{
	test_manual_tells_every_option(&pairingd_config_schema, "man/pairingd.yaml.5");
}
