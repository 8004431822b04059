/* Give up every capability but CAP_NET_ADMIN. */
#pragma once

/* 0 or a negative errno; -EPERM when CAP_NET_ADMIN is not there to keep. */
int privilege_drop(void);
