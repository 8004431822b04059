/* What is done on each path. The server has checked method and origin. */
#pragma once

struct authd;
struct http_request;

/* register.c */
void route_register_start(struct authd *a, struct http_request *req);
void route_register_finish(struct authd *a, struct http_request *req);
/* login.c */
void route_login_start(struct authd *a, struct http_request *req);
void route_login_finish(struct authd *a, struct http_request *req);
/* account.c: what a session may do with itself and its user */
void route_session(struct authd *a, struct http_request *req);
void route_logout(struct authd *a, struct http_request *req);
void route_unregister(struct authd *a, struct http_request *req);
/* verify.c */
void route_verify(struct authd *a, struct http_request *req);
/* api.c */
void route_whoami(struct authd *a, struct http_request *req);
void route_transfer(struct authd *a, struct http_request *req);
void route_transfers(struct authd *a, struct http_request *req);
void route_api_metrics(struct authd *a, struct http_request *req);
/* public.c */
void route_config(struct authd *a, struct http_request *req);
void route_health(struct authd *a, struct http_request *req);
void route_metrics(struct authd *a, struct http_request *req); /* for those of the configuration's metrics */
