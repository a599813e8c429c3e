#include "format.h"

#include <errno.h>
#include <string.h>

#include "nofault.h"

#define MAX_STRING 512
#define MAX_WIDTH 10000 /* beyond it the kernel's own field overflows */

/* The text so far: what does not fit is only counted. */
struct output {
	char *to;
	uint32_t size, len;
};

static void put(struct output *out, char c)
{
	if (out->len < out->size)
		out->to[out->len] = c;
	out->len++;
}

static void put_padding(struct output *out, char c, int count)
{
	while (count-- > 0)
		put(out, c);
}

/* One conversion of a format, and its length there. */
struct conversion {
	char kind; /* d u x X c s p; for p also: */
	char pointer; /* 0 plain, s string, 4 or 6: address, y: symbol */
	bool upper_ip; /* %pI rather than %pi */
	bool zero, plus, minus, space;
	int width;
	uint8_t bytes; /* of an integer */
	uint32_t len;
};

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_punct(char c)
{
	return c > ' ' && c < 0x7f && !(c >= '0' && c <= '9') &&
	       !((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool ends_conversion(char c)
{
	return c == 0 || is_space(c) || is_punct(c);
}

static const char *parse_field(const char *at, struct conversion *conversion)
{
	for (;; at++) {
		if (*at == '0')
			conversion->zero = true;
		else if (*at == '+')
			conversion->plus = true;
		else if (*at == '-')
			conversion->minus = true;
		else if (*at == ' ')
			conversion->space = true;
		else
			break;
	}
	for (; *at >= '0' && *at <= '9'; at++)
		conversion->width = sl_min(conversion->width * 10 + (*at - '0'), MAX_WIDTH);
	return at;
}

/* Behind %p. NULL for what the kernel refuses. */
static const char *parse_pointer(const char *at, struct conversion *conversion)
{
	conversion->kind = 'p';
	if (ends_conversion(*at))
		return at;
	if ((at[0] == 'k' || at[0] == 'u') && at[1] == 's') {
		conversion->kind = 's';
		return ends_conversion(at[2]) ? at + 2 : NULL;
	}
	if (strchr("KxsSB", *at)) {
		conversion->pointer = strchr("sSB", *at) ? 'y' : 0;
		return at + 1;
	}
	if ((at[0] == 'i' || at[0] == 'I') && (at[1] == '4' || at[1] == '6')) {
		conversion->pointer = at[1];
		conversion->upper_ip = at[0] == 'I';
		return at + 2;
	}
	return NULL;
}

static const char *parse_integer(const char *at, struct conversion *conversion)
{
	conversion->bytes = sizeof(uint32_t);
	if (*at == 'l') {
		conversion->bytes = sizeof(uint64_t);
		at++;
		at += *at == 'l';
	}
	if (*at == 0 || !strchr("diuxX", *at))
		return NULL;
	conversion->kind = *at == 'i' ? 'd' : *at;
	return at + 1;
}

/* fmt is behind the '%'. */
static int parse(const char *fmt, struct conversion *ret_conversion)
{
	const char *at;

	memset(ret_conversion, 0, sizeof(*ret_conversion));
	at = parse_field(fmt, ret_conversion);
	switch (*at) {
	case 'p':
		at = parse_pointer(at + 1, ret_conversion);
		break;
	case 's':
		ret_conversion->kind = 's';
		at = ends_conversion(at[1]) ? at + 1 : NULL;
		break;
	case 'c':
		ret_conversion->kind = 'c';
		at++;
		break;
	default:
		at = parse_integer(at, ret_conversion);
		break;
	}
	if (!at)
		return -EINVAL;
	ret_conversion->len = (uint32_t)(at - fmt);
	return 0;
}

static void put_field(
	struct output *out, const struct conversion *conversion, const char *text, int len)
{
	if (!conversion->minus)
		put_padding(out, ' ', conversion->width - len);
	for (int i = 0; i < len; i++)
		put(out, text[i]);
	if (conversion->minus)
		put_padding(out, ' ', conversion->width - len);
}

static int digits_of(uint64_t value, unsigned base, bool upper, char *ret_text)
{
	const char *alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char reversed[24];
	int len = 0;

	do {
		reversed[len++] = alphabet[value % base];
		value /= base;
	} while (value);
	for (int i = 0; i < len; i++)
		ret_text[i] = reversed[len - 1 - i];
	return len;
}

static void put_integer(struct output *out, const struct conversion *conversion, uint64_t value)
{
	bool is_signed = conversion->kind == 'd';
	char text[24], sign = 0;
	int len, padding;

	if (conversion->bytes == sizeof(uint32_t))
		value = is_signed ? (uint64_t)(int64_t)(int32_t)value : (uint32_t)value;
	if (is_signed && (int64_t)value < 0) {
		sign = '-';
		value = 0 - value;
	} else if (is_signed && (conversion->plus || conversion->space)) {
		sign = conversion->plus ? '+' : ' ';
	}
	len = digits_of(
		value, (conversion->kind | 0x20) == 'x' ? 16 : 10, conversion->kind == 'X', text);
	padding = conversion->width - len - (sign != 0);
	if (!conversion->minus && !conversion->zero)
		put_padding(out, ' ', padding);
	if (sign)
		put(out, sign);
	if (!conversion->minus && conversion->zero)
		put_padding(out, '0', padding);
	for (int i = 0; i < len; i++)
		put(out, text[i]);
	if (conversion->minus)
		put_padding(out, ' ', padding);
}

static int ip4_text(const uint8_t *bytes, bool leading_zeros, char *ret_text)
{
	int len = 0;

	for (int i = 0; i < 4; i++) {
		if (i)
			ret_text[len++] = '.';
		for (unsigned pad = 100; leading_zeros && pad > 1 && bytes[i] < pad; pad /= 10)
			ret_text[len++] = '0';
		len += digits_of(bytes[i], 10, false, ret_text + len);
	}
	return len;
}

static int ip6_text(const uint8_t *bytes, bool colons, char *ret_text)
{
	int len = 0;

	for (int i = 0; i < 16; i++) {
		if (colons && i && i % 2 == 0)
			ret_text[len++] = ':';
		len += digits_of(bytes[i] >> 4, 16, false, ret_text + len);
		len += digits_of(bytes[i] & 15, 16, false, ret_text + len);
	}
	return len;
}

static void put_pointer(struct output *out, const struct conversion *conversion, uint64_t value)
{
	struct conversion hex = { .kind = 'x', .zero = true, .width = 16, .bytes = 8 };
	uint8_t bytes[16];
	char text[64];
	int len;

	if (!conversion->pointer) {
		put_integer(out, &hex, value);
		return;
	}
	if (conversion->pointer == 'y') {
		text[0] = '0';
		text[1] = 'x';
		len = 2 + digits_of(value, 16, false, text + 2);
		put_field(out, conversion, text, len);
		return;
	}
	if (sl_nofault_copy(bytes, (const void *)value, conversion->pointer == '4' ? 4 : 16) != 0)
		memset(bytes, 0, sizeof(bytes));
	len = conversion->pointer == '4' ? ip4_text(bytes, !conversion->upper_ip, text)
					 : ip6_text(bytes, conversion->upper_ip, text);
	put_field(out, conversion, text, len);
}

static void put_conversion(struct output *out, const struct conversion *conversion, uint64_t value)
{
	char text[MAX_STRING];
	int len;

	switch (conversion->kind) {
	case 'c':
		text[0] = (char)value;
		put_field(out, conversion, text, 1);
		break;
	case 's':
		len = sl_nofault_string(text, (const void *)value, sizeof(text));
		put_field(out, conversion, text, sl_max(len - 1, 0));
		break;
	case 'p':
		put_pointer(out, conversion, value);
		break;
	default:
		put_integer(out, conversion, value);
		break;
	}
}

/* Control characters have no place in a log; bytes above ASCII are somebody's UTF-8. */
static bool is_text(char c)
{
	return (uint8_t)c >= ' ' ? c != 0x7f : is_space(c);
}

static int format(struct output *out, const char *fmt, uint32_t fmt_size, const uint64_t *args,
	uint32_t arg_count)
{
	struct conversion conversion;
	uint32_t used = 0;

	if (strnlen(fmt, fmt_size) == fmt_size)
		return -EINVAL;
	for (; *fmt; fmt++) {
		if (!is_text(*fmt))
			return -EINVAL;
		if (*fmt != '%' || fmt[1] == '%') {
			fmt += *fmt == '%';
			put(out, *fmt);
			continue;
		}
		if (used == arg_count || parse(fmt + 1, &conversion) != 0)
			return -EINVAL;
		if (args)
			put_conversion(out, &conversion, args[used]);
		used++;
		fmt += conversion.len;
	}
	return 0;
}

int sl_format_check(const char *fmt, uint32_t fmt_size, uint32_t arg_count)
{
	struct output nowhere = { NULL, 0, 0 };

	return format(&nowhere, fmt, fmt_size, NULL, arg_count);
}

int sl_format(char *to, uint32_t size, const char *fmt, uint32_t fmt_size, const uint64_t *args,
	uint32_t arg_count)
{
	struct output out = { to, size, 0 };
	int ret = sl_format_check(fmt, fmt_size, arg_count);

	if (ret != 0)
		return ret;
	format(&out, fmt, fmt_size, args, arg_count);
	if (size)
		to[sl_min(out.len, size - 1)] = 0;
	return (int)out.len;
}
