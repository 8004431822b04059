/* `pairingd --check --probe-relay`: what `handfast doctor` wants to know of the configured relay. */
#pragma once

/*
 * Try the relay (as in pairingd.yaml); ca: the file of authorities, NULL: the system's.
 * Prints what was found, a JSON object a line: verdict ("ok", "warning", "failure"), about, message, todo. At most 5 s.
 */
void probe_relay(const char *relay, const char *ca);
