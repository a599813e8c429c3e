#include "value.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/btf.h>
#include <json-c/json.h>

#include "test.h"

/* How the elements of maps are read and shown. */

static const struct {
	const char *types; /* NULL: by size */
	uint32_t size;
	const char *text;
	uint8_t bytes[20];
	const char *shown; /* NULL: text */
} readable[] = {
	{ NULL, 1, "255", { 255 } },
	{ NULL, 2, "0x102", { 2, 1 }, "258" },
	{ NULL, 4, "4294967295", { 255, 255, 255, 255 } },
	{ NULL, 4, "-1", { 255, 255, 255, 255 }, "4294967295" },
	{ NULL, 4, "010", { 10 }, "10" },
	{ NULL, 8, "18446744073709551615", { 255, 255, 255, 255, 255, 255, 255, 255 } },
	{ NULL, 4, "10.0.0.1", { 10, 0, 0, 1 }, "16777226" },
	{ NULL, 6, "02:00:00:00:00:0a", { 2, 0, 0, 0, 0, 10 }, "hex:02000000000a" },
	{ NULL, 16, "2001:db8::1", { 0x20, 1, 0xd, 0xb8, [15] = 1 },
		"hex:20010db8000000000000000000000001" },
	/* Two that could be a type and its value as well. */
	{ NULL, 16, "be16::1", { 0xbe, 0x16, [15] = 1 }, "hex:be160000000000000000000000000001" },
	{ NULL, 3, "hex:0a0B0c", { 10, 11, 12 }, "hex:0a0b0c" },
	{ NULL, 3, "[1,2,3]", { 1, 2, 3 }, "hex:010203" },
	{ NULL, 4, "\"ab\"", { 'a', 'b' }, "25185" },
	{ NULL, 6, "ip:10.0.0.1,be16:80", { 10, 0, 0, 1, 0, 80 }, "hex:0a0000010050" },
	{ NULL, 5, "u8:1,str:abc", { 1, 'a', 'b', 'c' }, "hex:0161626300" },
	{ NULL, 3, "hex:0102,u8:3", { 1, 2, 3 }, "hex:010203" },
	{ "u8", 1, "7", { 7 } },
	{ "s8", 1, "-128", { 128 } },
	{ "s16", 2, "-2", { 254, 255 } },
	{ "s32", 4, "-2", { 254, 255, 255, 255 } },
	{ "s64", 8, "-9223372036854775808", { 0, 0, 0, 0, 0, 0, 0, 128 } },
	{ "be16", 2, "80", { 0, 80 } },
	{ "be32", 4, "80", { 0, 0, 0, 80 } },
	{ "be64", 8, "80", { 0, 0, 0, 0, 0, 0, 0, 80 } },
	{ "ip", 4, "192.168.0.1", { 192, 168, 0, 1 } },
	{ "ip", 4, "hex:c0a80001", { 192, 168, 0, 1 }, "192.168.0.1" },
	{ "ip", 4, "ip:192.168.0.1", { 192, 168, 0, 1 }, "192.168.0.1" },
	{ "ip6", 16, "::1", { [15] = 1 } },
	{ "mac", 6, "0a:0b:0c:0d:0e:0f", { 10, 11, 12, 13, 14, 15 } },
	{ "dev", 4, "lo", { 1 } },
	{ "dev", 4, "1", { 1 }, "lo" },
	{ "cidr", 8, "10.0.0.0/8", { 8, 0, 0, 0, 10 } },
	{ "cidr", 8, "10.0.0.1", { 32, 0, 0, 0, 10, 0, 0, 1 }, "10.0.0.1/32" },
	{ "cidr", 20, "2001:db8::/32", { 32, 0, 0, 0, 0x20, 1, 0xd, 0xb8 } },
	{ "cidr", 6, "hex:0a0b/9", { 9, 0, 0, 0, 10, 11 } },
	{ "hex", 2, "0102", { 1, 2 }, "hex:0102" },
	{ "str", 4, "ab", { 'a', 'b' } },
	{ "str", 4, "a b", { 'a', ' ', 'b' }, "\"a b\"" },
	{ "str", 4, "\"-\"", { '-' } },
	{ "str", 4, "\"\"", { 0 } },
	{ "str", 6, "\"u8:1\"", { 'u', '8', ':', '1' }, "hex:75383a310000" },
	{ "str", 4, "hex:01020304", { 1, 2, 3, 4 } },
	{ "str2,hex2,u8", 5, "ab,hex:0102,3", { 'a', 'b', 1, 2, 3 } },
	{ "u16,str", 4, "[1,\",\"]", { 1, 0, ',' } },
	{ "ip,be16", 6, "10.0.0.1,80", { 10, 0, 0, 1, 0, 80 } },
};

static struct sl_value_type type_of(const char *types, uint32_t size)
{
	struct sl_value_type type = { .size = size };
	char why[128] = "";

	if (types)
		EXPECT_EQ(0, sl_value_set_items(&type, types, why, sizeof(why)));
	EXPECT_STREQ("", why);
	return type;
}

/* What is shown of the bytes, as on a line. */
static void print(const struct sl_value_type *type, const void *bytes, char *ret_text, size_t size)
{
	struct json_object *shown = sl_value_show(type, bytes);
	FILE *out = fmemopen(ret_text, size, "w");

	ASSERT_TRUE(shown && out);
	sl_value_print(type, shown, out);
	fclose(out);
	json_object_put(shown);
}

TEST(value, reads_and_shows_simple_types)
{
	for (size_t i = 0; i < sizeof(readable) / sizeof(readable[0]); i++) {
		struct sl_value_type type = type_of(readable[i].types, readable[i].size);
		char why[256] = "", text[256];
		uint8_t bytes[20];

		sl_test_trace_push(__FILE__, __LINE__, "row %zu: %s", i, readable[i].text);
		memset(bytes, 0xee, sizeof(bytes));
		EXPECT_EQ(0, sl_value_parse(&type, readable[i].text, bytes, why, sizeof(why)));
		EXPECT_STREQ("", why);
		EXPECT_MEMEQ(readable[i].bytes, bytes, readable[i].size);
		print(&type, bytes, text, sizeof(text));
		EXPECT_STREQ(readable[i].shown ? readable[i].shown : readable[i].text, text);
		sl_test_trace_pop();
	}
}

static const struct {
	const char *types;
	uint32_t size;
	const char *text;
	const char *why;
} refused[] = {
	{ NULL, 1, "256", "'256' does not fit into 1 bytes" },
	{ NULL, 1, "-129", "'-129' does not fit into 1 bytes" },
	{ NULL, 8, "18446744073709551616", "does not fit" },
	{ NULL, 4, "", "is no number" },
	{ NULL, 4, "1x", "'1x' is no number" },
	{ NULL, 4, "0x", "is no number" },
	{ NULL, 4, " 1", "is no number" },
	{ NULL, 4, "+1", "is no number" },
	{ NULL, 4, "10.0.0.256", "is no number" },
	{ NULL, 3, "1", "says no 3 bytes" },
	{ NULL, 3, "hex:0102", "2 bytes where the map has 3" },
	{ NULL, 3, "hex:01020", "is no hex" },
	{ NULL, 3, "hex:01020g", "is no hex" },
	{ NULL, 3, "[1,2]", "2 elements where 3 are wanted" },
	{ NULL, 3, "[1,2,300]", "does not fit u8" },
	{ NULL, 3, "{\"a\":1}", "names of members need a map with BTF" },
	{ NULL, 3, "[1,2", "is no JSON" },
	{ NULL, 3, "\"abcd\"", "does not fit str of 3 bytes" },
	{ NULL, 3, "\"ab", "has no closing quote" },
	{ NULL, 6, "ip:10.0.0.1", "4 bytes where the map has 6" },
	{ NULL, 6, "ip:10.0.0.1,u32:1", "more than 6 bytes" },
	{ NULL, 6, "ip:10.0.0.1,80", "'80' has no type" },
	{ NULL, 6, "u32:x,u16:1", "is no u32" },
	{ "s8", 1, "128", "does not fit s8" },
	{ "be16", 2, "65536", "does not fit be16" },
	{ "mac", 6, "02:00:00:00:00", "is no mac" },
	{ "mac", 6, "02.00:00:00:00:00", "is no mac" },
	{ "ip6", 16, "10.0.0.1", "is no ip6" },
	{ "cidr", 8, "10.0.0.0/33", "does not fit cidr" },
	{ "cidr", 8, "10.0.0.0/", "is no cidr" },
	{ "cidr", 8, "10.0.0.0/-1", "is no cidr" },
	{ "cidr", 8, "/8", "is no cidr" },
	{ "dev", 4, "no-such-device", "is no dev" },
	{ "ip,be16", 6, "10.0.0.1", "1 words where 2 are wanted" },
	{ "ip,be16", 6, "10.0.0.1,80,1", "is no be16" },
	{ "ip,be16", 6, "[\"10.0.0.1\"]", "1 elements where 2 are wanted" },
};

TEST(value, refuses_with_the_reason)
{
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		struct sl_value_type type = type_of(refused[i].types, refused[i].size);
		uint8_t bytes[20];
		char why[256] = "";

		sl_test_trace_push(__FILE__, __LINE__, "row %zu: %s", i, refused[i].text);
		EXPECT_GT(0, sl_value_parse(&type, refused[i].text, bytes, why, sizeof(why)));
		EXPECT_CONTAINS(why, refused[i].why);
		sl_test_trace_pop();
	}
}

static const struct {
	const char *types;
	uint32_t size;
	const char *why;
} bad_types[] = {
	{ "u33", 4, "unknown type 'u33'" },
	{ "u32", 8, "the types have 4 bytes, the map's 8" },
	{ "u32,u32", 4, "the types have 8 bytes" },
	{ "str,u8", 4, "needs a size: str8" },
	{ "str0", 4, "unknown type 'str0'" },
	{ "", 4, "the types have 0 bytes" },
	{ "u8,,u8", 2, "unknown type ''" },
	{ "u32,str", 4, "needs a size" },
	{ "u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8,u8", 17, "more than 16 types" },
};

TEST(value, refuses_types_that_do_not_fit)
{
	for (size_t i = 0; i < sizeof(bad_types) / sizeof(bad_types[0]); i++) {
		struct sl_value_type type = { .size = bad_types[i].size };
		char why[256] = "";

		EXPECT_EQ(-EINVAL, sl_value_set_items(&type, bad_types[i].types, why, sizeof(why)));
		EXPECT_CONTAINS(why, bad_types[i].why);
		EXPECT_EQ(0, type.item_count);
	}
}

/*
 * struct flow {
 *	__be32 src; struct in6_addr dst; __be16 port; __u8 mac[6]; char name[8]; bool up;
 *	int low:3; unsigned high:5; enum state state; union { __u32 number; __u8 parts[4]; };
 *	struct { __s64 balance; } in[2]; double rate; void *where;
 * };
 */
static struct btf *make_flow(int *ret_id)
{
	struct btf *btf = btf__new_empty();
	int u8 = btf__add_int(btf, "unsigned char", 1, 0), u16 = btf__add_int(btf, "short", 2, 0);
	int u32 = btf__add_int(btf, "unsigned int", 4, 0);
	int s32 = btf__add_int(btf, "int", 4, BTF_INT_SIGNED);
	int s64 = btf__add_int(btf, "long", 8, BTF_INT_SIGNED);
	int boolean = btf__add_int(btf, "_Bool", 1, BTF_INT_BOOL);
	int character = btf__add_int(btf, "char", 1, BTF_INT_SIGNED);
	int rate = btf__add_float(btf, "double", 8), where = btf__add_ptr(btf, 0);
	int be32 = btf__add_const(btf, btf__add_typedef(btf, "__be32", u32));
	int be16 = btf__add_typedef(btf, "__be16", u16);
	int mac = btf__add_array(btf, u32, u8, 6), name = btf__add_array(btf, u32, character, 8);
	int parts = btf__add_array(btf, u32, u8, 4), sixteen = btf__add_array(btf, u32, u8, 16);
	int state, either, inner, inners, in6;

	state = btf__add_enum(btf, "state", 4);
	btf__add_enum_value(btf, "IDLE", 0);
	btf__add_enum_value(btf, "BUSY", 7);
	either = btf__add_union(btf, NULL, 4);
	btf__add_field(btf, "number", u32, 0, 0);
	btf__add_field(btf, "parts", parts, 0, 0);
	inner = btf__add_struct(btf, "inner", 8);
	btf__add_field(btf, "balance", s64, 0, 0);
	inners = btf__add_array(btf, u32, inner, 2);
	in6 = btf__add_struct(btf, "in6_addr", 16);
	btf__add_field(btf, "bytes", sixteen, 0, 0);
	*ret_id = btf__add_struct(btf, "flow", 80);
	btf__add_field(btf, "src", be32, 0, 0);
	btf__add_field(btf, "dst", in6, 32, 0);
	btf__add_field(btf, "port", be16, 160, 0);
	btf__add_field(btf, "mac", mac, 176, 0);
	btf__add_field(btf, "name", name, 224, 0);
	btf__add_field(btf, "up", boolean, 288, 0);
	btf__add_field(btf, "low", s32, 296, 3);
	btf__add_field(btf, "high", u32, 299, 5);
	btf__add_field(btf, "state", state, 320, 0);
	btf__add_field(btf, NULL, either, 352, 0);
	btf__add_field(btf, "in", inners, 384, 0);
	btf__add_field(btf, "rate", rate, 512, 0);
	btf__add_field(btf, "where", where, 576, 0);
	return btf;
}

static const char flow_text[] =
	"{\"src\":\"10.0.0.1\",\"dst\":\"2001:db8::1\",\"port\":80,\"mac\":\"02:00:00:00:00:01\","
	"\"name\":\"eth\",\"up\":true,\"low\":-4,\"high\":31,\"state\":\"BUSY\",\"number\":258,"
	"\"parts\":[2,1,0,0],\"in\":[{\"balance\":-5},{\"balance\":0}],\"rate\":0.5,\"where\":18}";
static const char flow_words[] =
	"src=10.0.0.1,dst=2001:db8::1,port=80,mac=02:00:00:00:00:01,name=eth,up=true,low=-4,"
	"high=0x1f,state=BUSY,parts=[2,1],in[0].balance=-5,rate=0.5,where=18";

TEST(value, reads_and_shows_structs_by_their_btf)
{
	struct sl_value_type type = { .size = 80 };
	int id;
	struct btf *btf = make_flow(&id);
	uint8_t bytes[80], other[80];
	char why[256] = "", text[1024];

	type.btf = btf;
	type.btf_id = (uint32_t)id;
	ASSERT_EQ(0, sl_value_parse(&type, flow_text, bytes, why, sizeof(why)));
	EXPECT_STREQ("", why);
	EXPECT_MEMEQ(((uint8_t[]){ 10, 0, 0, 1, 0x20, 1, 0xd, 0xb8 }), bytes, 8);
	EXPECT_MEMEQ(((uint8_t[]){ 0, 80, 2, 0, 0, 0, 0, 1, 'e', 't', 'h', 0 }), bytes + 20, 12);
	EXPECT_EQ(1, bytes[36]);
	EXPECT_EQ(0xfc, bytes[37]);
	print(&type, bytes, text, sizeof(text));
	EXPECT_STREQ(flow_text, text);
	ASSERT_EQ(0, sl_value_parse(&type, flow_words, other, why, sizeof(why)));
	EXPECT_MEMEQ(bytes, other, sizeof(bytes));
	type.raw = true;
	ASSERT_EQ(0, sl_value_parse(&type, "src=1,port=1", other, why, sizeof(why)));
	EXPECT_EQ(1, other[0]);
	EXPECT_EQ(1, other[20]);
	btf__free(btf);
}

static const struct {
	const char *text, *why;
} refused_structs[] = {
	{ "{\"sport\":1}", "there is no member 'sport'" },
	{ "sport=1", "there is no member 'sport'" },
	{ "{\"port\":65536}", "does not fit into 2 bytes" },
	{ "{\"low\":4}", "does not fit into 3 bits" },
	{ "{\"high\":-1}", "does not fit into 5 bits" },
	{ "{\"state\":\"LOST\"}", "is no member of the enum" },
	{ "{\"parts\":[1,2,3,4,5]}", "5 elements are given for an array of 4" },
	{ "{\"parts\":{}}", "is no struct" },
	{ "{\"port\":[1]}", "for what is none" },
	{ "{\"port\":null}", "null is no value" },
	{ "{\"name\":\"123456789\"}", "more than 8 characters" },
	{ "{\"mac\":\"02:00\"}", "is no array of 6 bytes" },
	{ "in[2].balance=1", "there is no element '[2]" },
	{ "in[0]=1", "is no struct of 8 bytes" },
	{ "port.x=1", "there is no member 'x'" },
	{ "=1", "is no struct of 80 bytes" },
	{ "port=80,src", "'src' is no NAME=VALUE" },
	{ "80", "is no struct of 80 bytes" },
	{ "{", "is no JSON" },
	{ "rate=fast", "is no number" },
};

TEST(value, refuses_what_a_struct_does_not_have)
{
	struct sl_value_type type = { .size = 80 };
	int id;
	struct btf *btf = make_flow(&id);

	type.btf = btf;
	type.btf_id = (uint32_t)id;
	for (size_t i = 0; i < sizeof(refused_structs) / sizeof(refused_structs[0]); i++) {
		uint8_t bytes[80];
		char why[256] = "";

		sl_test_trace_push(__FILE__, __LINE__, "row %zu: %s", i, refused_structs[i].text);
		EXPECT_GT(
			0, sl_value_parse(&type, refused_structs[i].text, bytes, why, sizeof(why)));
		EXPECT_CONTAINS(why, refused_structs[i].why);
		sl_test_trace_pop();
	}
	btf__free(btf);
}

enum { ROUNDS = 2000, RANDOM_MAX = 4096 };

/* A type of data made of those before it; *ret_size is its size. */
static int add_random(struct btf *btf, int index, const int *ids, const uint32_t *sizes, unsigned n,
	uint32_t *ret_size)
{
	unsigned pick = (unsigned)rand() % n, count = 1 + (unsigned)rand() % 4;
	uint32_t offset = 0;
	char name[16];
	int id;

	if (rand() % 3 == 0 && sizes[pick] * count <= RANDOM_MAX) {
		*ret_size = sizes[pick] * count;
		return btf__add_array(btf, ids[0], ids[pick], count);
	}
	for (unsigned i = 0; i < count; i++)
		offset += sizes[(pick + i) % n];
	*ret_size = offset;
	id = btf__add_struct(btf, NULL, offset);
	offset = 0;
	for (unsigned i = 0; i < count; i++) {
		snprintf(name, sizeof(name), "m%d_%u", index, i);
		btf__add_field(btf, name, ids[(pick + i) % n], offset * 8, 0);
		offset += sizes[(pick + i) % n];
	}
	return id;
}

static void round_trip(const struct sl_value_type *type)
{
	uint8_t *bytes = malloc(type->size), *again = malloc(type->size);
	char *text = malloc(64 * 1024), why[256] = "";

	for (uint32_t i = 0; i < type->size; i++)
		bytes[i] = (uint8_t)(rand() % 3 ? rand() : 0);
	print(type, bytes, text, 64 * 1024);
	EXPECT_EQ(0, sl_value_parse(type, text, again, why, sizeof(why)));
	EXPECT_STREQ("", why);
	EXPECT_MEMEQ(bytes, again, type->size);
	free(bytes);
	free(again);
	free(text);
}

/* Packed types without floats, whose NaNs are many: every byte of them is shown. */
static void round_trip_random(unsigned seed)
{
	struct btf *btf = btf__new_empty();
	int ids[24];
	uint32_t sizes[24], first = 0;

	srand(seed);
	for (uint32_t size = 1; size <= 8; size *= 2) {
		sizes[first] = sizes[first + 1] = size;
		ids[first++] = btf__add_int(btf, "u", size, 0);
		ids[first++] = btf__add_int(btf, "s", size, BTF_INT_SIGNED);
	}
	sizes[first] = 4;
	ids[first++] = btf__add_typedef(btf, "__be32", ids[4]);
	sizes[first] = 1;
	ids[first++] = btf__add_int(btf, "char", 1, BTF_INT_SIGNED);
	sizes[first] = 4;
	ids[first++] = btf__add_enum(btf, "state", 4);
	btf__add_enum_value(btf, "IDLE", 0);
	for (unsigned n = first; n < 24; n++)
		ids[n] = add_random(btf, (int)n, ids, sizes, n, &sizes[n]);
	for (unsigned n = 0; n < 24; n++) {
		struct sl_value_type type = {
			.size = sizes[n], .btf = btf, .btf_id = (uint32_t)ids[n], .raw = rand() % 2
		};

		if (sizes[n] <= RANDOM_MAX)
			round_trip(&type);
	}
	btf__free(btf);
}

TEST(value, shows_random_values_of_random_types_so_that_they_read_back)
{
	for (unsigned seed = 0; seed < ROUNDS / 24 && !sl_test_has_failed(); seed++) {
		sl_test_trace_push(__FILE__, __LINE__, "seed %u", seed);
		round_trip_random(seed);
		sl_test_trace_pop();
	}
}

TEST(value, shows_random_values_of_simple_types_so_that_they_read_back)
{
	static const char *const lists[] = { "u8,s16,be32,u64", "ip,ip6,mac,be16", "dev,str5,hex",
		"str", "hex", "s8,s64,str3", "be64,u16", "str16,str" };

	srand(1);
	for (unsigned i = 0; i < ROUNDS && !sl_test_has_failed(); i++) {
		struct sl_value_type type = { .size = 1 + (uint32_t)rand() % 40 };
		char why[128];

		if (sl_value_set_items(&type, lists[i % 8], why, sizeof(why)) != 0 && i % 16 > 7)
			continue;
		sl_test_trace_push(__FILE__, __LINE__, "%s", lists[i % 8]);
		round_trip(&type);
		sl_test_trace_pop();
	}
}
