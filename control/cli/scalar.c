#include "scalar.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

/* As the kernel has it. */
enum { LPM_DATA_MAX = 256 };

uint64_t sl_scalar_load(const uint8_t *bytes, uint32_t size)
{
	uint16_t u16;
	uint32_t u32;
	uint64_t u64;

	switch (size) {
	case 1:
		return *bytes;
	case 2:
		memcpy(&u16, bytes, sizeof(u16));
		return u16;
	case 4:
		memcpy(&u32, bytes, sizeof(u32));
		return u32;
	default:
		memcpy(&u64, bytes, sizeof(u64));
		return u64;
	}
}

void sl_scalar_store(uint8_t *bytes, uint32_t size, uint64_t value)
{
	uint16_t u16 = (uint16_t)value;
	uint32_t u32 = (uint32_t)value;

	switch (size) {
	case 1:
		*bytes = (uint8_t)value;
		break;
	case 2:
		memcpy(bytes, &u16, sizeof(u16));
		break;
	case 4:
		memcpy(bytes, &u32, sizeof(u32));
		break;
	default:
		memcpy(bytes, &value, sizeof(value));
	}
}

uint64_t sl_scalar_swap(uint64_t value, uint32_t size)
{
	switch (size) {
	case 2:
		return htobe16((uint16_t)value);
	case 4:
		return htobe32((uint32_t)value);
	case 8:
		return htobe64(value);
	default:
		return value;
	}
}

static bool starts_number(const char *text, bool sign)
{
	if (sign && *text == '-')
		text++;
	return isdigit((unsigned char)*text);
}

/* Leading zeros do not mean octal. */
static int base_of(const char *text)
{
	if (*text == '-')
		text++;
	return text[0] == '0' && (text[1] == 'x' || text[1] == 'X') ? 16 : 10;
}

static int parse_u64(const char *text, uint32_t size, uint64_t *ret_value)
{
	char *end;

	if (!starts_number(text, false))
		return -EINVAL;
	errno = 0;
	*ret_value = strtoull(text, &end, base_of(text));
	if (*end || end == text || end[-1] == 'x' || end[-1] == 'X')
		return -EINVAL;
	return errno || (size < 8 && *ret_value >> (8 * size)) ? -ERANGE : 0;
}

int sl_scalar_parse_unsigned(const char *text, uint8_t *bytes, uint32_t size)
{
	uint64_t value;
	int err = parse_u64(text, size, &value);

	if (err == 0)
		sl_scalar_store(bytes, size, value);
	return err;
}

int sl_scalar_parse_signed(const char *text, uint8_t *bytes, uint32_t size)
{
	int64_t value, limit = INT64_MAX >> (64 - 8 * size);
	char *end;

	if (!starts_number(text, true))
		return -EINVAL;
	errno = 0;
	value = strtoll(text, &end, base_of(text));
	if (*end || end == text || end[-1] == 'x' || end[-1] == 'X')
		return -EINVAL;
	if (errno || value > limit || value < -limit - 1)
		return -ERANGE;
	sl_scalar_store(bytes, size, (uint64_t)value);
	return 0;
}

static struct json_object *show_unsigned(const uint8_t *bytes, uint32_t size)
{
	return json_object_new_uint64(sl_scalar_load(bytes, size));
}

static struct json_object *show_signed(const uint8_t *bytes, uint32_t size)
{
	unsigned shift = 64 - 8 * size;

	return json_object_new_int64((int64_t)(sl_scalar_load(bytes, size) << shift) >> shift);
}

static int parse_be(const char *text, uint8_t *bytes, uint32_t size)
{
	uint64_t value;
	int err = parse_u64(text, size, &value);

	if (err == 0)
		sl_scalar_store(bytes, size, sl_scalar_swap(value, size));
	return err;
}

static struct json_object *show_be(const uint8_t *bytes, uint32_t size)
{
	return json_object_new_uint64(sl_scalar_swap(sl_scalar_load(bytes, size), size));
}

static int parse_ip(const char *text, uint8_t *bytes, uint32_t size)
{
	(void)size;
	return inet_pton(AF_INET, text, bytes) == 1 ? 0 : -EINVAL;
}

static struct json_object *show_ip(const uint8_t *bytes, uint32_t size)
{
	char text[INET_ADDRSTRLEN];

	(void)size;
	return json_object_new_string(inet_ntop(AF_INET, bytes, text, sizeof(text)));
}

static int parse_ip6(const char *text, uint8_t *bytes, uint32_t size)
{
	(void)size;
	return inet_pton(AF_INET6, text, bytes) == 1 ? 0 : -EINVAL;
}

static struct json_object *show_ip6(const uint8_t *bytes, uint32_t size)
{
	char text[INET6_ADDRSTRLEN];

	(void)size;
	return json_object_new_string(inet_ntop(AF_INET6, bytes, text, sizeof(text)));
}

static int hex_digit(char c)
{
	return !isxdigit((unsigned char)c) ? -1
	       : isdigit((unsigned char)c) ? c - '0'
					   : tolower((unsigned char)c) - 'a' + 10;
}

static int parse_mac(const char *text, uint8_t *bytes, uint32_t size)
{
	if (strlen(text) != 3 * (size_t)size - 1)
		return -EINVAL;
	for (uint32_t i = 0; i < size; i++, text += 3) {
		int high = hex_digit(text[0]), low = hex_digit(text[1]);

		if (high < 0 || low < 0 || (i + 1 < size && text[2] != ':' && text[2] != '-'))
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static struct json_object *show_mac(const uint8_t *bytes, uint32_t size)
{
	char text[18];

	(void)size;
	snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2],
		bytes[3], bytes[4], bytes[5]);
	return json_object_new_string(text);
}

static int parse_hex(const char *text, uint8_t *bytes, uint32_t size)
{
	size_t len = strlen(text);

	if (len != 2 * (size_t)size)
		return len % 2 || strspn(text, "0123456789abcdefABCDEF") != len ? -EINVAL : -ERANGE;
	for (uint32_t i = 0; i < size; i++) {
		int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return -EINVAL;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return 0;
}

static struct json_object *show_hex(const uint8_t *bytes, uint32_t size)
{
	char *text = malloc(4 + 2 * (size_t)size + 1);
	struct json_object *ret;

	if (!text)
		return NULL;
	strcpy(text, "hex:");
	for (uint32_t i = 0; i < size; i++)
		snprintf(text + 4 + 2 * (size_t)i, 3, "%02x", bytes[i]);
	ret = json_object_new_string(text);
	free(text);
	return ret;
}

static int parse_str(const char *text, uint8_t *bytes, uint32_t size)
{
	size_t len = strlen(text);

	if (len > size)
		return -ERANGE;
	memset(bytes, 0, size);
	memcpy(bytes, text, len);
	return 0;
}

bool sl_scalar_is_text(const uint8_t *bytes, uint32_t size)
{
	uint32_t len = (uint32_t)strnlen((const char *)bytes, size);
	const uint8_t *colon = memchr(bytes, ':', len);

	for (uint32_t i = 0; i < size; i++) {
		if (i < len ? !isprint(bytes[i]) : bytes[i] != 0)
			return false;
	}
	return !colon || !sl_scalar_find((const char *)bytes, (size_t)(colon - bytes));
}

static struct json_object *show_str(const uint8_t *bytes, uint32_t size)
{
	uint32_t len = (uint32_t)strnlen((const char *)bytes, size);

	if (!sl_scalar_is_text(bytes, size))
		return show_hex(bytes, size);
	return json_object_new_string_len((const char *)bytes, (int)len);
}

/* The key of an LPM_TRIE: the length in bits in host byte order, then the address. */
static int parse_cidr(const char *text, uint8_t *bytes, uint32_t size)
{
	const char *slash = strrchr(text, '/');
	uint32_t data_size = size - 4;
	uint64_t bits = 8 * (uint64_t)data_size;
	uint8_t data[LPM_DATA_MAX];
	char *address;
	int err;

	if (size <= 4 || data_size > sizeof(data))
		return -EINVAL;
	err = slash ? parse_u64(slash + 1, 4, &bits) : 0;
	if (err || bits > 8 * (uint64_t)data_size)
		return err ? err : -ERANGE;
	address = strndup(text, slash ? (size_t)(slash - text) : strlen(text));
	if (!address)
		return -ENOMEM;
	err = sl_scalar_parse_address(address, data, data_size);
	free(address);
	if (err)
		return err;
	sl_scalar_store(bytes, 4, bits);
	memcpy(bytes + 4, data, data_size);
	return 0;
}

static struct json_object *show_cidr(const uint8_t *bytes, uint32_t size)
{
	struct json_object *address = size == 8    ? show_ip(bytes + 4, 4)
				      : size == 20 ? show_ip6(bytes + 4, 16)
						   : show_hex(bytes + 4, size - 4);
	struct json_object *ret;
	char *text;

	if (!address || asprintf(&text, "%s/%u", json_object_get_string(address),
				(unsigned)sl_scalar_load(bytes, 4)) < 0) {
		json_object_put(address);
		return NULL;
	}
	ret = json_object_new_string(text);
	free(text);
	json_object_put(address);
	return ret;
}

/* A network device of this machine, by name or number. */
static int parse_dev(const char *text, uint8_t *bytes, uint32_t size)
{
	unsigned ifindex = if_nametoindex(text);

	if (ifindex == 0)
		return sl_scalar_parse_unsigned(text, bytes, size);
	sl_scalar_store(bytes, size, ifindex);
	return 0;
}

static struct json_object *show_dev(const uint8_t *bytes, uint32_t size)
{
	char name[IF_NAMESIZE];
	unsigned ifindex = (unsigned)sl_scalar_load(bytes, size);

	if (if_indextoname(ifindex, name))
		return json_object_new_string(name);
	return json_object_new_uint64(ifindex);
}

static const struct sl_scalar_ops scalars[] = {
	{ "u8", 1, sl_scalar_parse_unsigned, show_unsigned },
	{ "u16", 2, sl_scalar_parse_unsigned, show_unsigned },
	{ "u32", 4, sl_scalar_parse_unsigned, show_unsigned },
	{ "u64", 8, sl_scalar_parse_unsigned, show_unsigned },
	{ "s8", 1, sl_scalar_parse_signed, show_signed },
	{ "s16", 2, sl_scalar_parse_signed, show_signed },
	{ "s32", 4, sl_scalar_parse_signed, show_signed },
	{ "s64", 8, sl_scalar_parse_signed, show_signed },
	{ "be16", 2, parse_be, show_be },
	{ "be32", 4, parse_be, show_be },
	{ "be64", 8, parse_be, show_be },
	{ "ip", 4, parse_ip, show_ip },
	{ "ip4", 4, parse_ip, show_ip },
	{ "ipv4", 4, parse_ip, show_ip },
	{ "ip6", 16, parse_ip6, show_ip6 },
	{ "ipv6", 16, parse_ip6, show_ip6 },
	{ "mac", 6, parse_mac, show_mac },
	{ "dev", 4, parse_dev, show_dev },
	{ "cidr", 0, parse_cidr, show_cidr },
	{ "hex", 0, parse_hex, show_hex },
	{ "str", 0, parse_str, show_str },
};

const struct sl_scalar_ops *sl_scalar_find(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++) {
		if (strlen(scalars[i].name) == len && memcmp(scalars[i].name, name, len) == 0)
			return &scalars[i];
	}
	return NULL;
}

int sl_scalar_parse_address(const char *text, uint8_t *bytes, uint32_t size)
{
	if (strncmp(text, "hex:", 4) == 0)
		return parse_hex(text + 4, bytes, size);
	switch (size) {
	case 4:
		return parse_ip(text, bytes, size);
	case 6:
		return parse_mac(text, bytes, size);
	case 16:
		return parse_ip6(text, bytes, size);
	default:
		return -EINVAL;
	}
}
