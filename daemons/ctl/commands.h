/* The handlers that the table names: one file each, or one for a group of small ones. */
#pragma once

struct ctl;

int cmd_pair(struct ctl *c);
int cmd_peers(struct ctl *c);
int cmd_peer_show(struct ctl *c);
int cmd_peer_rename(struct ctl *c);
int cmd_peer_forget(struct ctl *c);
int cmd_identity(struct ctl *c);
int cmd_tunnel_list(struct ctl *c);
int cmd_tunnel_show(struct ctl *c);
int cmd_tunnel_address(struct ctl *c);
int cmd_tunnel_up(struct ctl *c);
int cmd_tunnel_down(struct ctl *c);
int cmd_tunnel_add(struct ctl *c);
int cmd_tunnel_remove(struct ctl *c);
int cmd_tunnel_burn(struct ctl *c);
int cmd_tunnel_generate(struct ctl *c);
int cmd_tunnel_verify(struct ctl *c);
int cmd_relay_status(struct ctl *c);
int cmd_relay_sessions(struct ctl *c);
int cmd_relay_drop(struct ctl *c);
int cmd_auth_register(struct ctl *c);
int cmd_auth_login(struct ctl *c);
int cmd_auth_password(struct ctl *c);
int cmd_auth_logout(struct ctl *c);
int cmd_auth_status(struct ctl *c);
int cmd_auth_request(struct ctl *c);
int cmd_auth_selftest(struct ctl *c);
int cmd_status(struct ctl *c);
int cmd_link_setup(struct ctl *c);
int cmd_link_undo(struct ctl *c);
int cmd_link_show(struct ctl *c);
int cmd_metrics(struct ctl *c);
int cmd_doctor(struct ctl *c);
int cmd_selfcheck(struct ctl *c);
int cmd_check(struct ctl *c);
int cmd_backup(struct ctl *c);
int cmd_restore(struct ctl *c);
int cmd_reload(struct ctl *c);
int cmd_version(struct ctl *c);
int cmd_help(struct ctl *c);
int cmd_completion(struct ctl *c);
int cmd_complete(struct ctl *c);
