#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct btf;
struct json_object;

/*
 * Bytes of a BTF type, and JSON. A member of type __be16, __be32 or __be64 is a number in network
 * byte order (a __be32 is shown as an IPv4 address), a struct in_addr or in6_addr an address, six
 * unsigned bytes a MAC address, a char array a string; with `raw` all integers are what they are in
 * memory, and all arrays arrays, as bpftool shows them. Members of unnamed structs and unions are
 * shown beside their siblings, as C names them.
 */
struct sl_value_btf {
	const struct btf *btf;
	bool raw;
};

/* NULL when the type cannot be shown: it is not one of data, or nests too deeply. */
struct json_object *sl_value_btf_show(
	const struct sl_value_btf *types, uint32_t id, const uint8_t *bytes);

/*
 * Writes what `json` says into the bytes of one value, which are zero where it says nothing. An
 * object may name some of the members; a member that the type does not have is an error. 0, or
 * negative errno with the reason in words.
 */
int sl_value_btf_from_json(const struct sl_value_btf *types, uint32_t id, struct json_object *json,
	uint8_t *bytes, char *ret_reason, size_t reason_size);

/*
 * The same for a text: the value itself, or for a struct "src=10.0.0.1,port=80", where a name may go
 * deeper: "a.b[2]=1". A value that begins with { or [ is JSON.
 */
int sl_value_btf_from_text(const struct sl_value_btf *types, uint32_t id, const char *text,
	uint8_t *bytes, char *ret_reason, size_t reason_size);
