#include <errno.h>
#include <string.h>

#include "row.h"

#define BASE_MASK 0x1f
#define MAX_NUMBER 63 /* characters that are looked at */

/* The kernel's character classes are Latin-1's. */
static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r') || (uint8_t)c == 0xa0;
}

static unsigned digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return (unsigned)(c - '0');
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

/* A prefix that says the base is skipped; base 0 takes it from the prefix. */
static const char *skip_prefix(const char *at, unsigned *base)
{
	bool hex = at[0] == '0' && (at[1] | 0x20) == 'x';

	if (*base == 0)
		*base = hex && digit_of(at[2]) < 16 ? 16 : at[0] == '0' ? 8 : 10;
	return *base == 16 && hex ? at + 2 : at;
}

/* Bytes used, or -EINVAL without a number, -ERANGE when it does not fit. */
static int parse(
	const char *buf, uint64_t len, uint64_t flags, uint64_t *ret_value, bool *ret_minus)
{
	char text[MAX_NUMBER + 3] = { 0 }; /* NULs behind it end every look ahead */
	unsigned base = flags & BASE_MASK;
	const char *at, *digits;
	uint64_t used = 0, value = 0;

	if (base != 0 && base != 8 && base != 10 && base != 16)
		return -EINVAL;
	if (flags & ~(uint64_t)BASE_MASK)
		return -EINVAL;
	while (used < len && is_space(buf[used]))
		used++;
	*ret_minus = used < len && buf[used] == '-';
	used += *ret_minus;
	if (used == len)
		return -EINVAL;
	memcpy(text, buf + used, sl_min(len - used, (uint64_t)MAX_NUMBER));
	digits = skip_prefix(text, &base);
	for (at = digits; digit_of(*at) < base; at++) {
		if (__builtin_mul_overflow(value, base, &value) ||
			__builtin_add_overflow(value, digit_of(*at), &value))
			return -ERANGE;
	}
	if (at == digits)
		return -EINVAL;
	*ret_value = value;
	return (int)(used + (uint64_t)(at - text));
}

SL_HELPER_FN(strtol)
{
	int64_t *result = (int64_t *)r4;
	uint64_t value;
	bool minus;
	int ret = parse((const char *)r1, r2, r3, &value, &minus);

	*result = 0;
	if (ret < 0)
		return sl_helper_ret(ret);
	if (value > (uint64_t)INT64_MAX + minus)
		return sl_helper_ret(-ERANGE);
	*result = (int64_t)(minus ? 0 - value : value);
	return sl_helper_ret(ret);
}

const struct sl_helper sl_helper_strtol = {
	SL_ROW(strtol, ANY),
	.args = { SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_ANYTHING, SL_ARG_LONG_PTR },
};

SL_HELPER_FN(strtoul)
{
	uint64_t *result = (uint64_t *)r4;
	uint64_t value;
	bool minus;
	int ret = parse((const char *)r1, r2, r3, &value, &minus);

	*result = 0;
	if (ret < 0)
		return sl_helper_ret(ret);
	if (minus)
		return sl_helper_ret(-EINVAL);
	*result = value;
	return sl_helper_ret(ret);
}

const struct sl_helper sl_helper_strtoul = {
	SL_ROW(strtoul, ANY),
	.args = { SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_ANYTHING, SL_ARG_LONG_PTR },
};

SL_HELPER_FN(strncmp)
{
	int order = strncmp((const char *)r1, (const char *)r3, (uint32_t)r2);

	return sl_helper_ret((order > 0) - (order < 0));
}

const struct sl_helper sl_helper_strncmp = {
	SL_ROW(strncmp, ANY),
	.args = { SL_ARG_MEM, SL_ARG_SIZE, SL_ARG_CONST_STR },
};
