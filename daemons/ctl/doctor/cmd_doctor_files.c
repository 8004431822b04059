/* State, key files, configuration: on which disk, whose, readable by whom. */
#include "ctl/doctor/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <jansson.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/json.h"
#include "base/text.h"
#include "config/config.h"

/* ---- disk ---- */

static void tell_disk(struct doctor *d, const char *dir)
{
	enum { INODES_LOW = 100 };
	const uint64_t bytes_low = 16u << 20, bytes_gone = 1u << 20;
	struct statvfs v;
	char room[32];
	uint64_t free_bytes;

	if (statvfs(dir, &v) < 0) {
		if (errno != ENOENT)
			doctor_tell(d, d->root ? DOCTOR_FAILURE : DOCTOR_NOTE, dir, NULL, "cannot be looked at: %s",
				    strerror(errno));
		return;
	}
	free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
	text_format_size(room, sizeof(room), free_bytes);
	if (v.f_flag & ST_RDONLY)
		doctor_tell(d, DOCTOR_FAILURE, dir, "See “dmesg” for errors of the disk; “sudo mount -o remount,rw …” when there are none.",
			    "is on a filesystem that is mounted read-only: nothing can be made durable, and tunnels stop");
	else if (free_bytes < bytes_gone)
		doctor_tell(d, DOCTOR_FAILURE, dir, "Make room on that disk.",
			    "has %s of room: what must be durable cannot be, and tunnels stop", room);
	else if (v.f_files && v.f_favail < INODES_LOW)
		doctor_tell(d, v.f_favail < 10 ? DOCTOR_FAILURE : DOCTOR_WARNING, dir,
			    "Remove files on that disk: “df -i” shows where.",
			    "its filesystem can make only %llu more files", (unsigned long long)v.f_favail);
	else if (free_bytes < bytes_low)
		doctor_tell(d, DOCTOR_WARNING, dir, "Make room on that disk.", "has only %s of room", room);
	else
		doctor_tell(d, DOCTOR_OK, dir, NULL, "has %s of room", room);
}

void doctor_disk(struct doctor *d)
{
	char dir[4096];

	for (size_t i = AWAKE_PAIRINGD; i <= AWAKE_PSKD; i++) {
		doctor_state_dir(d, i, dir, sizeof(dir));
		tell_disk(d, dir);
	}
}

/* ---- owners and modes ---- */

/*
 * What others may not do to it (mode bits that must be clear), and whose it may be: owner, or also root.
 * DOCTOR_NOBODY for an owner that is not known: then anybody's is fine.
 */
struct rule {
	mode_t forbidden;
	const char *why;
	uid_t owner;
	bool or_root;
};

static bool tell_owner(struct doctor *d, const char *path, const struct stat *st, const struct rule *rule)
{
	if (rule->owner == DOCTOR_NOBODY || st->st_uid == rule->owner || (rule->or_root && st->st_uid == 0))
		return true;
	doctor_tell(d, DOCTOR_FAILURE, path,
		    doctor_text("“sudo chown %s%s %s”.", S_ISDIR(st->st_mode) ? "-R " : "",
				doctor_user(rule->or_root ? 0 : rule->owner), path),
		    "belongs to %s instead of %s: %s", doctor_user(st->st_uid),
		    doctor_user(rule->or_root ? 0 : rule->owner), rule->why);
	return false;
}

static bool tell_mode(struct doctor *d, const char *path, const struct rule *rule)
{
	struct stat st;
	bool fine;

	if (stat(path, &st) < 0)
		return true;
	fine = tell_owner(d, path, &st, rule);
	if (!(st.st_mode & rule->forbidden))
		return fine;
	doctor_tell(d, DOCTOR_FAILURE, path,
		    doctor_text("“sudo chmod %04o %s”.", (unsigned int)(st.st_mode & 07777 & ~rule->forbidden), path),
		    "has mode %04o: %s", (unsigned int)(st.st_mode & 07777), rule->why);
	return false;
}

/* Every file of dir that matches. Returns how many are as they should be, -1 when dir cannot be read. */
static int tell_modes(struct doctor *d, const char *dir, const char *pattern, const struct rule *rule)
{
	DIR *list = opendir(dir);
	const struct dirent *e;
	char path[4096];
	int fine = 0;

	if (!list)
		return -1;
	while ((e = readdir(list)))
		if (fnmatch(pattern, e->d_name, FNM_PERIOD) == 0 &&
		    (size_t)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) < sizeof(path))
			fine += tell_mode(d, path, rule);
	closedir(list);
	return fine;
}

/* A group of its own may read the relay's TLS key; others may not. */
static void tell_tls_key(struct doctor *d)
{
	const struct rule rule = { 007, "others can read the relay's private key", doctor_uid(d, AWAKE_RELAYD), true };
	char config[4096], key[4096];

	doctor_config_file(d, AWAKE_RELAYD, config, sizeof(config));
	if (config_find(config, "key", key, sizeof(key)) && *key == '/' &&
	    tell_mode(d, key, &rule) && access(key, F_OK) == 0)
		doctor_tell(d, DOCTOR_OK, key, NULL, "nobody else can read the relay's private key");
}

/* The folder of a file. */
static void folder_of(char *path)
{
	char *slash = strrchr(path, '/');

	if (slash && slash != path)
		*slash = '\0';
}

static void tell_state_files(struct doctor *d, size_t which)
{
	const struct rule folder = { 077, "others may enter; the daemon refuses to start", doctor_uid(d, which), false };
	struct rule file = folder;
	unsigned int before = d->n[DOCTOR_FAILURE];
	char dir[4000], sub[4096];
	int n;

	file.why = "others can read secrets";
	doctor_state_dir(d, which, dir, sizeof(dir));
	if (access(dir, F_OK) < 0 && errno == ENOENT)
		return;
	if (!tell_mode(d, dir, &folder))
		return;
	n = tell_modes(d, dir, "*", &file);
	if (which == AWAKE_PSKD) {
		snprintf(sub, sizeof(sub), "%s/ledgers", dir);
		tell_modes(d, sub, "*", &file);
		snprintf(sub, sizeof(sub), "%s/tunnels", dir);
		tell_modes(d, sub, "*", &file);
	}
	if (d->n[DOCTOR_FAILURE] == before)
		doctor_tell(d, DOCTOR_OK, dir, NULL, n >= 0 ? "nobody else can read what is in it" : "nobody else may enter it");
}

/* Configuration belongs to root, or to the daemon that reads it. */
static void tell_config_files(struct doctor *d)
{
	static const char why[] = "others can change what the daemons do";
	const struct rule rule = { 022, why, doctor_uid(d, AWAKE_PSKD), true };
	unsigned int before = d->n[DOCTOR_FAILURE];
	char file[4096], dir[4096], sub[4200];
	bool seen;

	doctor_config_file(d, AWAKE_PSKD, dir, sizeof(dir));
	folder_of(dir);
	snprintf(sub, sizeof(sub), "%s/tunnels", dir);
	tell_mode(d, dir, &rule);
	seen = access(dir, R_OK) == 0;
	for (size_t i = 0; i < AWAKE_MAX; i++) {
		const struct rule own = { 022, why, doctor_uid(d, i), true };

		doctor_config_file(d, i, file, sizeof(file));
		tell_mode(d, file, &own);
	}
	tell_mode(d, sub, &rule);
	tell_modes(d, sub, "*.yaml", &rule);
	if ((seen || d->root) && d->n[DOCTOR_FAILURE] == before)
		doctor_tell(d, DOCTOR_OK, dir, NULL, "nobody else can change what is in it");
}

void doctor_files(struct doctor *d)
{
	/* Cables that “handfast link” set up. */
	static const struct rule cables = { 077, "others can read it; NetworkManager ignores such a file", 0, true };

	tell_config_files(d);
	for (size_t i = 0; i < AWAKE_MAX; i++)
		tell_state_files(d, i);
	tell_tls_key(d);
	tell_modes(d, "/etc/NetworkManager/system-connections", "handfast-*", &cables);
}

/* ---- key files ---- */

struct medium {
	bool vanishes; /* gone after a reboot */
	bool network, modeless, copies, flash;
	const char *name;
};

static void find_medium(struct medium *m, const struct stat *st, const struct statfs *fs)
{
	char path[128];

	*m = (struct medium){ .name = "its filesystem" };
	switch ((unsigned long)fs->f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
		*m = (struct medium){ .vanishes = true, .name = "a filesystem in memory" };
		return;
	case NFS_SUPER_MAGIC:
		*m = (struct medium){ .network = true, .name = "NFS" };
		return;
	case 0xff534d42UL: /* CIFS */
	case 0xfe534d42UL: /* SMB2 */
	case SMB_SUPER_MAGIC:
		*m = (struct medium){ .network = true, .name = "a Windows share" };
		return;
	case MSDOS_SUPER_MAGIC:
	case 0x2011bab0UL: /* exFAT */
		m->modeless = true;
		m->name = "FAT";
		break;
	case BTRFS_SUPER_MAGIC:
		m->copies = true;
		m->name = "btrfs";
		break;
	case 0x2fc12fc1UL:
		m->copies = true;
		m->name = "ZFS";
		break;
	case F2FS_SUPER_MAGIC:
		m->flash = true;
		m->name = "F2FS";
		break;
	default:
		break;
	}
	/* Of a partition the disk above it knows. */
	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/queue/rotational", major(st->st_dev), minor(st->st_dev));
	if (access(path, R_OK) < 0)
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/../queue/rotational", major(st->st_dev),
			 minor(st->st_dev));
	m->flash = m->flash || doctor_number(path, 1) == 0;
}

static void tell_key_file(struct doctor *d, const char *tunnel, const char *path)
{
	const struct passwd *owner = getpwnam("handfast-psk");
	struct medium m;
	struct statfs fs;
	struct stat st;

	if (stat(path, &st) < 0 || statfs(path, &fs) < 0) {
		if (errno == EACCES && !d->root)
			doctor_tell(d, DOCTOR_NOTE, tunnel, NULL, "only root can look at %s", path);
		else
			doctor_tell(d, DOCTOR_FAILURE, tunnel, "Put the medium in, or mount it, and “handfast tunnel up” again.",
				    "its key file %s is not there: %s", path, strerror(errno));
		return;
	}
	find_medium(&m, &st, &fs);
	if ((st.st_mode & 077) && !m.modeless)
		doctor_tell(d, DOCTOR_FAILURE, tunnel, doctor_text("“sudo chmod 600 %s”.", path),
			    "its key file %s has mode %04o: others can read all keys of the tunnel", path,
			    (unsigned int)(st.st_mode & 07777));
	else if (st.st_mode & 077)
		doctor_tell(d, DOCTOR_WARNING, tunnel, "Mount it with umask=077,uid=handfast-psk, or copy the file to a disk of this machine.",
			    "its key file %s is on %s, which knows no owners, and is mounted for everybody to read", path,
			    m.name);
	if (owner && st.st_uid != owner->pw_uid && st.st_uid != 0 && d->own)
		doctor_tell(d, DOCTOR_WARNING, tunnel, doctor_text("“sudo chown handfast-psk: %s”.", path),
			    "its key file %s belongs to uid %u, who can read all keys of the tunnel", path,
			    (unsigned int)st.st_uid);
	if (m.vanishes)
		doctor_tell(d, DOCTOR_WARNING, tunnel, "Copy it to a disk, and never use the old place again.",
			    "its key file %s is on %s: it is gone after a reboot", path, m.name);
	else if (m.network)
		doctor_tell(d, DOCTOR_WARNING, tunnel, "Keep it on a disk of this machine.",
			    "its key file %s is on %s: the keys cross the network in the clear", path, m.name);
	else if (m.copies || m.flash)
		doctor_tell(d, DOCTOR_NOTE, tunnel, "Where that matters, keep it on an encrypted disk whose key can be thrown away.",
			    "its key file %s is on %s: erasing spent keys there is best effort", path,
			    m.copies ? m.name : "flash storage");
	else
		doctor_tell(d, DOCTOR_OK, tunnel, NULL, "its key file %s is on %s", path, m.name);
}

/* A new key file has to be carried. */
#define SOON_S (14 * 86400)

static void tell_fuel(struct doctor *d, const char *tunnel, const json_t *t)
{
	double fuel = json_number_value(json_object_get(t, "fuel_percent"));
	int64_t lasts_s = json_get_int(json_object_get(t, "fuel"), "lasts_s", -1);
	bool is_soon = lasts_s >= 0 && lasts_s < SOON_S;
	enum verdict v = fuel <= 0 ? DOCTOR_FAILURE : fuel <= 20 || is_soon ? DOCTOR_WARNING : DOCTOR_OK;
	char span[32], lasts[80] = "";

	if (json_get_int(t, "slots_total", 0) <= 0)
		return;
	if (is_soon) {
		text_format_duration(span, sizeof(span), (uint64_t)lasts_s * 1000);
		snprintf(lasts, sizeof(lasts), "; that lasts %s at the rate of the last week", span);
	}
	doctor_tell(d, v, tunnel,
		    v == DOCTOR_OK ? NULL : "Make a new key file (“handfast tunnel generate”), carry it over and stage it on both sides (“handfast tunnel stage”).",
		    "%.1f %% of its key file is left, %lld packets to send%s", fuel,
		    (long long)json_get_int(t, "packets_left", 0), lasts);
}

/* pskd tries by itself, every hour; one that says why may need a hand. */
static void tell_retired(struct doctor *d, const char *tunnel, const json_t *t)
{
	const json_t *one;
	size_t i;

	json_array_foreach(json_object_get(t, "retired"), i, one) {
		const char *file = json_get_str(one, "key_file"), *problem = json_get_str(one, "problem");

		if (file && problem)
			doctor_tell(d, DOCTOR_WARNING, tunnel, "“handfast tunnel show” has all of them. Where pskd may not write, erase it by hand.",
				    "its earlier key file %s is not finished: %s", file, problem);
	}
}

void doctor_keys(struct doctor *d)
{
	const json_t *t;
	size_t i;

	if (!d->tunnels) {
		doctor_tell(d, DOCTOR_NOTE, "", NULL, "pskd cannot be asked which there are");
		return;
	}
	json_array_foreach(d->tunnels, i, t) {
		const char *name = json_get_str(t, "name"), *file = json_get_str(t, "key_file");

		if (!name || !file)
			continue;
		tell_key_file(d, name, file);
		tell_fuel(d, name, t);
		tell_retired(d, name, t);
	}
}

/* ---- the credential ---- */

#define STATE_KEY "handfast.state-key"

/* Where systemd takes it from, as root sees it: sealed itself, or in the clear. */
static void tell_stores(struct doctor *d)
{
	static const char *const sealed[] = { "/etc/credstore.encrypted", "/run/credstore.encrypted",
					      "/usr/lib/credstore.encrypted" };
	static const char *const plain[] = { "/etc/credstore", "/run/credstore", "/usr/lib/credstore" };
	static const struct rule rule = { 077, "others can read the key of all secrets", 0, true };
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
		snprintf(path, sizeof(path), "%s/%s", sealed[i], STATE_KEY);
		if (access(path, F_OK) == 0)
			doctor_tell(d, DOCTOR_OK, path, NULL, "the key itself is sealed by this machine");
		snprintf(path, sizeof(path), "%s/%s", plain[i], STATE_KEY);
		if (access(path, F_OK) < 0 || !tell_mode(d, path, &rule))
			continue;
		doctor_tell(d, DOCTOR_NOTE, path, "“systemd-creds encrypt” can seal it under this machine's TPM or host key: handfast-security(7).",
			    "the key itself lies there in the clear: who has this disk has it");
	}
}

void doctor_credential(struct doctor *d)
{
	bool sealed = false;

	for (size_t i = AWAKE_PAIRINGD; i <= AWAKE_PSKD; i++) {
		bool has = strcmp(doctor_detail(d, i, "state_key"), "credential") == 0;

		sealed = sealed || has;
		if (!d->status[i])
			doctor_tell(d, DOCTOR_NOTE, awake_names[i], NULL, "cannot be asked");
		else if (!has)
			doctor_tell(d, DOCTOR_NOTE, awake_names[i],
				    "handfast-security(7) has the command that makes the credential " STATE_KEY ", which seals them.",
				    "its secrets lie on disk as they are, protected by their mode alone");
		else
			doctor_tell(d, DOCTOR_OK, awake_names[i], NULL, "its secrets are sealed under the credential %s", STATE_KEY);
	}
	if (sealed && d->root)
		tell_stores(d);
}
