#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_object;

/*
 * The simple types that the elements of a map are written in on a command line: u8 to u64, s8 to
 * s64, be16 to be64 (in network byte order), ip, ip6, mac, cidr, dev, hex and str.
 */
struct sl_scalar_ops {
	const char *name;
	uint32_t size; /* 0: as many bytes as there are */
	/* 0, or -EINVAL for a text that is none, -ERANGE for a number that does not fit. */
	int (*parse)(const char *text, uint8_t *bytes, uint32_t size);
	/* The text that parse() reads, or a number. The caller owns it. */
	struct json_object *(*show)(const uint8_t *bytes, uint32_t size);
};

/* The type of the name in the first `len` characters, NULL when there is none. */
const struct sl_scalar_ops *sl_scalar_find(const char *name, size_t len);

/* A whole number in decimal, or after 0x in hexadecimal, of `size` bytes in host byte order. */
int sl_scalar_parse_unsigned(const char *text, uint8_t *bytes, uint32_t size);
int sl_scalar_parse_signed(const char *text, uint8_t *bytes, uint32_t size);

/* An unsigned number of 1, 2, 4 or 8 bytes in host byte order. */
uint64_t sl_scalar_load(const uint8_t *bytes, uint32_t size);
void sl_scalar_store(uint8_t *bytes, uint32_t size, uint64_t value);
/* Turned round on a little-endian machine: from and to network byte order. */
uint64_t sl_scalar_swap(uint64_t value, uint32_t size);

/*
 * An address by its look alone, for `size` bytes: 4 an IPv4, 6 a MAC, 16 an IPv6 address; or hex:
 * and two digits for each byte. -EINVAL when the text is none.
 */
int sl_scalar_parse_address(const char *text, uint8_t *bytes, uint32_t size);

/*
 * Whether the bytes are printable ASCII, padded with zeros, that reads back as a text: one that begins
 * with the name of a type and a colon does not.
 */
bool sl_scalar_is_text(const uint8_t *bytes, uint32_t size);
