/*
 * The mark is a comment line with the SHA-256 of the whole file, taken with
 * zeros where the digest stands. Whoever edits the file breaks it, and handfast
 * then leaves the file alone.
 */
#include "ctl/link/link_profile.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "crypto/kdf.h"

enum { FILE_MAX = 64 * 1024, DIGEST_HEX = 2 * SHA256_LEN };

#define MARK "# handfast-link: "
#define PEER_MARK "# the other end: "
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

/*
 * What the prototype's scripts gave the two ends of a direct cable: link-local
 * addresses (RFC 3927) that no router forwards, so that they meet no network
 * that a machine may join later.
 */
static const struct {
	const char *role, *own, *peer;
} roles[] = {
	{ "laptop", "169.254.10.2/24", "169.254.10.3" },
	{ "pi", "169.254.10.3/24", "169.254.10.2" },
};

const char *link_manager_name(enum link_manager m)
{
	static const char *const names[] = {
		[LINK_NOBODY] = "nobody",
		[LINK_NETWORKMANAGER] = "NetworkManager",
		[LINK_NETWORKD] = "networkd",
		[LINK_IFUPDOWN] = "ifupdown",
		[LINK_DHCPCD] = "dhcpcd",
	};

	return names[m];
}

bool link_is_plain_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len < IF_NAMESIZE && *name != '.' && *name != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == len;
}

/* ---- addresses of both ends ---- */

/* Items between commas; with_prefix: "A/N", else "A". NULL or what is wrong. */
static const char *parse_list(struct link_cidr *out, size_t *n, const char *text, bool with_prefix)
{
	char copy[2 * LINK_CIDR_TEXT], item[LINK_CIDR_TEXT + 4], *rest = copy, *word;

	*n = 0;
	if (strlen(text) >= sizeof(copy))
		return "is too long";
	strcpy(copy, text);
	while ((word = strsep(&rest, ","))) {
		word += strspn(word, " ");
		if (strlen(word) >= LINK_CIDR_TEXT)
			return "is too long";
		if (!with_prefix && strchr(word, '/'))
			return "is to be given without a prefix length";
		/* A whole-length prefix makes an address a network of itself alone. */
		snprintf(item, sizeof(item), "%s%s", word,
			 with_prefix ? "" : strchr(word, ':') ? "/128" : "/32");
		if (*n == LINK_CIDRS_MAX)
			return "has more than one address of each family";
		if (link_cidr_parse(&out[*n], item) != 0)
			return with_prefix ? "is no address with a prefix length, like 169.254.10.2/24, "
					     "that one machine can have" :
					     "is no address that one machine can have";
		if (*n == 1 && out[0].family == out[1].family)
			return "has more than one address of each family";
		++*n;
	}
	return NULL;
}

/* The only other machine of an IPv4 /30 or /31. */
static bool only_other(struct link_cidr *out, const struct link_cidr *own)
{
	if (own->family != AF_INET || (own->prefix != 30 && own->prefix != 31))
		return false;
	*out = *own;
	out->prefix = 32;
	out->address[3] = own->address[3] ^ (own->prefix == 31 ? 1 : 3);
	return true;
}

static const char *check_peer(const struct link_wish *w, const struct link_cidr *peer)
{
	for (size_t i = 0; i < w->n_own; i++) {
		if (link_cidr_same_address(&w->own[i], peer))
			return "is the address of this end, too";
		if (link_cidr_holds(&w->own[i], peer))
			return NULL;
	}
	return "is not in the network of this end's address";
}

const char *link_wish_addresses(struct link_wish *w, const char *own, const char *peer)
{
	const char *wrong;
	size_t role = 0;

	while (role < ARRAY_SIZE(roles) && strcmp(roles[role].role, w->role) != 0)
		role++;
	if (role == ARRAY_SIZE(roles))
		return "there is no such role";
	w->n_own = w->n_peer = 0;
	if (own && strcmp(own, "none") == 0)
		return peer ? "without an address of one's own there is none of the other end" : NULL;
	wrong = parse_list(w->own, &w->n_own, own ? own : roles[role].own, true);
	if (wrong)
		return wrong;
	if (!peer && !own)
		peer = roles[role].peer;
	if (peer) {
		wrong = parse_list(w->peer, &w->n_peer, peer, false);
		for (size_t i = 0; !wrong && i < w->n_peer; i++)
			wrong = check_peer(w, &w->peer[i]);
		return wrong;
	}
	for (size_t i = 0; i < w->n_own; i++)
		w->n_peer += only_other(&w->peer[w->n_peer], &w->own[i]);
	return NULL;
}

/* ---- the text ---- */

void link_profile_path(char out[static LINK_PATH_MAX], enum link_manager m, const char *name)
{
	if (m == LINK_NETWORKMANAGER)
		snprintf(out, LINK_PATH_MAX,
			 "/etc/NetworkManager/system-connections/handfast-%s.nmconnection", name);
	else
		snprintf(out, LINK_PATH_MAX, "/etc/systemd/network/30-handfast-%s.network", name);
}

unsigned int link_profile_mode(enum link_manager m)
{
	return m == LINK_NETWORKMANAGER ? 0600 : 0644;
}

/* RFC 9562 section 5.8: a version of one's own making. */
void link_profile_uuid(char out[static LINK_UUID_MAX], const char *name)
{
	char text[64], hex[2 * SHA256_LEN + 1];
	uint8_t h[SHA256_LEN];

	snprintf(text, sizeof(text), "handfast link %s", name);
	sha256(h, text, strlen(text));
	h[6] = (uint8_t)((h[6] & 0x0f) | 0x80);
	h[8] = (uint8_t)((h[8] & 0x3f) | 0x80);
	hex_format(hex, h, sizeof(h));
	snprintf(out, LINK_UUID_MAX, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
		 hex + 20);
}

static bool has_family(const struct link_wish *w, int family)
{
	for (size_t i = 0; i < w->n_own; i++)
		if (w->own[i].family == family)
			return true;
	return false;
}

static void put_own(FILE *f, const char *before, const struct link_wish *w, int family,
		    const char *after)
{
	char text[LINK_CIDR_TEXT];

	for (size_t i = 0; i < w->n_own; i++) {
		if (w->own[i].family != family)
			continue;
		link_cidr_format(text, &w->own[i], true);
		fprintf(f, "%s%s\n%s", before, text, after);
	}
}

/*
 * never-default, no DHCP, no router advertisements: the cable leads to one
 * machine. dad-timeout: both ends set up in one role should show at once.
 */
static void put_networkmanager(FILE *f, const struct link_wish *w)
{
	char uuid[LINK_UUID_MAX];

	link_profile_uuid(uuid, w->name);
	fprintf(f,
		"[connection]\nid=handfast-%s\nuuid=%s\ntype=ethernet\ninterface-name=%s\n"
		"autoconnect=true\nautoconnect-priority=%d\n\n[ethernet]\n",
		w->name, uuid, w->name, LINK_NM_PRIORITY);
	if (w->mtu)
		fprintf(f, "mtu=%u\n", w->mtu);
	fprintf(f, "\n[ipv4]\nmethod=%s\n", has_family(w, AF_INET) ? "manual" : "disabled");
	put_own(f, "address1=", w, AF_INET, "never-default=true\ndad-timeout=500\n");
	fprintf(f, "\n[ipv6]\nmethod=%s\n", has_family(w, AF_INET6) ? "manual" : "link-local");
	put_own(f, "address1=", w, AF_INET6, "never-default=true\n");
}

/* RequiredForOnline=no: a boot does not wait for a cable that is not plugged in. */
static void put_networkd(FILE *f, const struct link_wish *w)
{
	fprintf(f, "[Match]\nName=%s\n\n[Link]\nRequiredForOnline=no\n", w->name);
	if (w->mtu)
		fprintf(f, "MTUBytes=%u\n", w->mtu);
	fprintf(f, "\n[Network]\nDescription=direct cable (handfast)\nDHCP=no\n"
		   "LinkLocalAddressing=ipv6\nIPv6AcceptRA=no\n");
	put_own(f, "\n[Address]\nAddress=", w, AF_INET, "DuplicateAddressDetection=ipv4\n");
	put_own(f, "\n[Address]\nAddress=", w, AF_INET6, "");
}

static void put_head(FILE *f, const struct link_wish *w)
{
	char text[LINK_CIDR_TEXT];

	fprintf(f, "# Made by \"handfast link setup\"; \"handfast link undo %s\" removes it.\n"
		   "# Changed by hand, it is left alone by both.\n", w->name);
	fprintf(f, MARK "%s " ZEROS "\n", w->role);
	for (size_t i = 0; i < w->n_peer; i++) {
		link_cidr_format(text, &w->peer[i], false);
		fprintf(f, PEER_MARK "%s\n", text);
	}
	fprintf(f, "\n");
}

/* Where the digest stands in text, or NULL. */
static char *digest_place(char *text)
{
	char *mark = strstr(text, "\n" MARK), *at;

	if (!mark)
		return NULL;
	at = strchr(mark + 1 + strlen(MARK), ' ');
	if (!at || strcspn(at + 1, "\n") != DIGEST_HEX)
		return NULL;
	return at + 1;
}

static void digest_of(char hex[static DIGEST_HEX + 1], const char *zeroed, size_t len)
{
	uint8_t h[SHA256_LEN];

	sha256(h, zeroed, len);
	hex_format(hex, h, sizeof(h));
}

char *link_profile_text(enum link_manager m, const struct link_wish *w)
{
	_cleanup_free_ char *text = NULL;
	char hex[DIGEST_HEX + 1];
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	put_head(f, w);
	if (m == LINK_NETWORKMANAGER)
		put_networkmanager(f, w);
	else
		put_networkd(f, w);
	if (fclose(f) != 0)
		return NULL;
	digest_of(hex, text, len);
	memcpy(digest_place(text), hex, DIGEST_HEX);
	return steal(&text);
}

/* ---- read back ---- */

static bool read_marks(struct link_profile *p, const char *text)
{
	const char *mark = strstr(text, "\n" MARK) + 1 + strlen(MARK), *at = text;
	size_t len = strcspn(mark, " "), got;
	char word[LINK_CIDR_TEXT];

	for (size_t i = 0; i < ARRAY_SIZE(roles); i++)
		if (strlen(roles[i].role) == len && memcmp(roles[i].role, mark, len) == 0)
			snprintf(p->role, sizeof(p->role), "%s", roles[i].role);
	if (*p->role == '\0')
		return false;
	while (p->n_peer < LINK_CIDRS_MAX && (at = strstr(at, "\n" PEER_MARK))) {
		at += 1 + strlen(PEER_MARK);
		snprintf(word, sizeof(word), "%.*s", (int)strcspn(at, "\n"), at);
		if (parse_list(&p->peer[p->n_peer], &got, word, false) == NULL && got == 1)
			p->n_peer++;
	}
	return true;
}

void link_profile_parse(struct link_profile *out, const char *text, size_t len)
{
	_cleanup_free_ char *zeroed = malloc(len + 1);
	char hex[DIGEST_HEX + 1], *place;

	/* Without memory to look, a file is best left alone. */
	out->file = LINK_FILE_FOREIGN;
	if (!zeroed || memchr(text, '\0', len))
		return;
	memcpy(zeroed, text, len);
	zeroed[len] = '\0';
	place = digest_place(zeroed);
	if (!place) {
		if (strstr(zeroed, "\n" MARK))
			out->file = LINK_FILE_CHANGED;
		return;
	}
	memset(place, '0', DIGEST_HEX);
	digest_of(hex, zeroed, len);
	out->file = LINK_FILE_CHANGED;
	if (memcmp(hex, text + (place - zeroed), DIGEST_HEX) == 0 && read_marks(out, zeroed))
		out->file = LINK_FILE_OURS;
}

int link_profile_load(struct link_profile *out, enum link_manager m, const char *name)
{
	_cleanup_free_ char *text = NULL;
	struct link_profile p = { .manager = m };
	size_t len;
	int r;

	link_profile_path(p.path, m, name);
	r = file_read(&text, &len, p.path, FILE_MAX);
	switch (r) {
	case 0:
		link_profile_parse(&p, text, len);
		if (p.file == LINK_FILE_OURS)
			p.text = steal(&text);
		break;
	case -ENOENT:
	case -ENOTDIR:
		p.file = LINK_FILE_NONE;
		break;
	case -EACCES:
	case -EPERM:
		p.file = LINK_FILE_UNREADABLE;
		break;
	case -EFBIG:
	case -ELOOP:
	case -EISDIR:
	case -EINVAL:
		p.file = LINK_FILE_FOREIGN;
		break;
	default:
		return r;
	}
	*out = p;
	return 0;
}

void link_profile_done(struct link_profile *p)
{
	free(steal(&p->text));
}
