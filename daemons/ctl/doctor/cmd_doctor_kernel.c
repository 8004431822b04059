/* What the kernel gives: TUN devices, time, buffers, random bytes, locked memory. */
#include "ctl/doctor/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/text.h"

/* ---- TUN ---- */

#define TUN "/dev/net/tun"

/* Whether the kernel could have the driver: it is loaded, or a module is there for it. */
static bool tun_driver(void)
{
	struct utsname u;
	char path[256];

	if (access("/sys/class/misc/tun", F_OK) == 0)
		return true;
	if (uname(&u) < 0)
		return false;
	for (const char *const *end = (const char *const[]){ "", ".xz", ".zst", ".gz", NULL }; *end; end++) {
		snprintf(path, sizeof(path), "/lib/modules/%s/kernel/drivers/net/tun.ko%s", u.release, *end);
		if (access(path, F_OK) == 0)
			return true;
	}
	return false;
}

void doctor_tun(struct doctor *d)
{
	struct stat st;
	int fd;

	if (stat(TUN, &st) < 0) {
		if (tun_driver())
			doctor_tell(d, DOCTOR_FAILURE, TUN, "“sudo modprobe tun”; to keep it, put “tun” into /etc/modules-load.d/handfast.conf. In a container, its host must pass the device in.",
				    "is not there, though the kernel has the driver");
		else
			doctor_tell(d, DOCTOR_FAILURE, TUN, "Boot a kernel with CONFIG_TUN; after an upgrade of the kernel a reboot is due, for the running one's modules are gone.",
				    "is not there, and this kernel has no module for it");
		return;
	}
	if (!S_ISCHR(st.st_mode) || major(st.st_rdev) != 10 || minor(st.st_rdev) != 200) {
		doctor_tell(d, DOCTOR_FAILURE, TUN, "Remove it, then “sudo modprobe -r tun; sudo modprobe tun”.",
			    "is not the TUN device (character device 10, 200)");
		return;
	}
	fd = open(TUN, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0) {
		close(fd);
		doctor_tell(d, DOCTOR_OK, TUN, NULL, "is there, and the kernel has the driver");
	} else if (errno == ENODEV || errno == ENXIO) {
		doctor_tell(d, DOCTOR_FAILURE, TUN, "“sudo modprobe tun”; after an upgrade of the kernel, reboot.",
			    "is there, but the kernel has no driver behind it");
	} else if (errno == EPERM) {
		doctor_tell(d, DOCTOR_FAILURE, TUN, "The container's host must allow it (systemd-nspawn: --bind=/dev/net/tun and DeviceAllow=/dev/net/tun rw).",
			    "may not be opened here, not even by those whom its mode allows");
	} else {
		doctor_tell(d, d->root ? DOCTOR_FAILURE : DOCTOR_OK, TUN, NULL, "is there%s%s",
			    d->root ? ", but cannot be opened: " : "", d->root ? strerror(errno) : "");
	}
}

/* ---- clock ---- */

static long long year_of(time_t t)
{
	struct tm tm;

	return gmtime_r(&t, &tm) ? tm.tm_year + 1900LL : 0;
}

/* When this program was put here: no right clock is earlier. */
static time_t installed_at(void)
{
	struct stat st;

	return stat("/proc/self/exe", &st) < 0 ? 0 : st.st_mtime;
}

void doctor_clock(struct doctor *d)
{
	static const char set[] = "“timedatectl set-ntp true”, or set it by hand: “sudo timedatectl set-time …”.";
	enum { DAY = 24 * 3600 };
	struct timex t = { 0 };
	time_t now = time(NULL);
	int r;

	if (now < installed_at() - DAY || year_of(now) < 2024) {
		doctor_tell(d, DOCTOR_FAILURE, "", set,
			    "the clock says %lld, which is before this program was installed: certificates and logins will be refused, tunnels do not mind",
			    year_of(now));
		return;
	}
	if (year_of(now) > 2099) {
		doctor_tell(d, DOCTOR_FAILURE, "", set,
			    "the clock says %lld: certificates and logins will be refused, tunnels do not mind",
			    year_of(now));
		return;
	}
	r = adjtimex(&t);
	if (r < 0)
		doctor_tell(d, DOCTOR_NOTE, "", NULL, "the kernel does not say whether it is synchronised: %s",
			    strerror(errno));
	else if (r == TIME_ERROR && (t.status & STA_UNSYNC))
		doctor_tell(d, DOCTOR_WARNING, "", "“timedatectl set-ntp true” (package systemd-timesyncd or chrony). A machine without a battery for its clock needs it.",
			    "nothing keeps it right: it is not synchronised");
	else
		doctor_tell(d, DOCTOR_OK, "", NULL, "it is synchronised, within %ld ms", t.esterror / 1000);
}

/* ---- socket buffers ---- */

/* What pskd asks for, for each tunnel and direction: pskd(8). */
#define BUFFER_WANTED (4 * 1024 * 1024)

static void tell_buffer(struct doctor *d, const char *name)
{
	char path[128], have[32], want[32];
	long long max;

	snprintf(path, sizeof(path), "/proc/sys/net/core/%s", name);
	max = doctor_number(path, -1);
	if (max < 0) {
		doctor_tell(d, DOCTOR_NOTE, name, NULL, "cannot be read here (a network namespace of its own has the first one's)");
		return;
	}
	text_format_size(have, sizeof(have), (uint64_t)max);
	text_format_size(want, sizeof(want), BUFFER_WANTED);
	if (max < BUFFER_WANTED)
		doctor_tell(d, DOCTOR_WARNING, name,
			    doctor_text("“sudo sysctl -w net.core.%s=%d”, and the same in /etc/sysctl.d to keep it; then restart pskd.",
					name, BUFFER_WANTED),
			    "net.core.%s is %s and pskd wants %s: packets may be lost at high speed", name, have, want);
	else
		doctor_tell(d, DOCTOR_OK, name, NULL, "%s, of which pskd takes %s a tunnel", have, want);
}

void doctor_buffers(struct doctor *d)
{
	tell_buffer(d, "rmem_max");
	tell_buffer(d, "wmem_max");
}

/* ---- the library that seals packets ---- */

void doctor_sealing(struct doctor *d)
{
	const char *name = doctor_detail(d, AWAKE_PSKD, "aead");
	const char *note = doctor_detail(d, AWAKE_PSKD, "aead_note");
	const char *hint = doctor_detail(d, AWAKE_PSKD, "aead_hint");

	if (!*name) {
		doctor_tell(d, DOCTOR_NOTE, "pskd", NULL, "pskd cannot be asked what seals packets");
		return;
	}
	doctor_tell(d, *hint ? DOCTOR_NOTE : DOCTOR_OK, "pskd", *hint ? hint : NULL, "%s seals packets (%s)", name, note);
}

/* ---- random bytes ---- */

void doctor_entropy(struct doctor *d)
{
	char byte, source[128];

	if (getrandom(&byte, 1, GRND_NONBLOCK) != 1)
		doctor_tell(d, DOCTOR_FAILURE, "getrandom", "Wait, or give it some: “sudo apt install haveged”, or a virtio-rng device for a virtual machine. Keys are not made before.",
			    "the kernel's generator is not seeded yet");
	else
		doctor_tell(d, DOCTOR_OK, "getrandom", NULL, "the kernel's generator is seeded");
	if (!doctor_read("/sys/class/misc/hw_random/rng_current", source, sizeof(source)))
		*source = '\0';
	if (*source && strcmp(source, "none") != 0)
		doctor_tell(d, DOCTOR_OK, "hwrng", NULL, "%s feeds it", source);
	else
		doctor_tell(d, DOCTOR_NOTE, "hwrng", NULL,
			    "there is no hardware generator (/dev/hwrng); the kernel seeds itself from the processor and from timing");
}

/* ---- locked memory ---- */

#define MEMLOCK_WANTED (8 * 1024 * 1024)

/* The soft limit of a process, in bytes; -1 where it cannot be read, or is unlimited (*unlimited). */
static long long memlock_of(int64_t pid, bool *unlimited)
{
	static const char label[] = "Max locked memory";
	char path[64], text[4096], *at;

	*unlimited = false;
	snprintf(path, sizeof(path), "/proc/%lld/limits", (long long)pid);
	if (!doctor_read(path, text, sizeof(text)))
		return -1;
	at = strstr(text, label);
	if (!at)
		return -1;
	at += strlen(label);
	at += strspn(at, " ");
	*unlimited = strncmp(at, "unlimited", strlen("unlimited")) == 0;
	return *unlimited ? -1 : strtoll(at, NULL, 10);
}

static void tell_memlock(struct doctor *d, size_t i)
{
	const char *name = awake_names[i];
	char text[32], want[32];
	bool unlimited;
	long long limit;

	if (!d->status[i])
		return;
	limit = memlock_of(json_get_int(d->status[i], "pid", 0), &unlimited);
	if (limit < 0 && !unlimited) {
		doctor_tell(d, DOCTOR_NOTE, name, NULL, "its limit cannot be read here");
		return;
	}
	text_format_size(text, sizeof(text), limit < 0 ? 0 : (uint64_t)limit);
	text_format_size(want, sizeof(want), MEMLOCK_WANTED);
	if (!unlimited && limit < MEMLOCK_WANTED)
		doctor_tell(d, DOCTOR_WARNING, name,
			    doctor_text("LimitMEMLOCK=8M in “systemctl edit %s”, then restart it.", name),
			    "may lock %s and wants %s: secrets that cannot be locked are refused, and the daemon stops", text,
			    want);
	else
		doctor_tell(d, DOCTOR_OK, name, NULL, "may lock %s", unlimited ? "as much as it wants" : text);
}

void doctor_memory(struct doctor *d)
{
	enum { NEEDED = 64 * 1024 };
	struct rlimit own;

	for (size_t i = 0; i < AWAKE_MAX; i++)
		tell_memlock(d, i);
	if (getrlimit(RLIMIT_MEMLOCK, &own) == 0 && own.rlim_cur != RLIM_INFINITY && own.rlim_cur < NEEDED && !d->root)
		doctor_tell(d, DOCTOR_WARNING, "handfast", "“ulimit -l 64”, or raise memlock in /etc/security/limits.conf and log in again.",
			    "this command may lock only %llu bytes, and “handfast pair” needs %d to keep a PIN out of swap",
			    (unsigned long long)own.rlim_cur, NEEDED);
}
