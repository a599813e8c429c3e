#include "test.h"

#include <gtest/gtest.h>

#include <cstdarg>
#include <cstring>
#include <string>
#include <vector>

namespace
{

std::vector<testing::ScopedTrace *> traces;

std::string format(const char *fmt, va_list args)
{
	char text[4096];

	vsnprintf(text, sizeof(text), fmt, args);
	return text;
}

std::string hex(const void *data, size_t len_bytes)
{
	static const size_t limit = 256;
	std::string text;
	char byte[4];

	for (size_t i = 0; i < len_bytes && i < limit; i++) {
		snprintf(byte, sizeof(byte), "%02x ", static_cast<const uint8_t *>(data)[i]);
		text += byte;
	}
	return text;
}

class CTest : public testing::Test
{
      public:
	explicit CTest(void (*fn)(void)) : fn_(fn)
	{
	}
	void TestBody() override
	{
		fn_();
		while (!traces.empty())
			sl_test_trace_pop();
	}

      private:
	void (*fn_)(void);
};

} // namespace

void sl_test_register(
	const char *suite, const char *name, const char *file, int line, void (*fn)(void))
{
	testing::RegisterTest(suite, name, nullptr, nullptr, file, line,
		[fn]() -> testing::Test * { return new CTest(fn); });
}

bool sl_test_int(const char *file, int line, const char *op, const char *a_text, const char *b_text,
	int64_t a, int64_t b, bool holds)
{
	if (!holds)
		ADD_FAILURE_AT(file, line) << "expected " << a_text << " " << op << " " << b_text
					   << "\n  left:  " << a << "\n  right: " << b;
	return holds;
}

bool sl_test_str(const char *file, int line, const char *a_text, const char *b_text, const char *a,
	const char *b)
{
	bool same = a && b ? strcmp(a, b) == 0 : a == b;

	if (!same)
		ADD_FAILURE_AT(file, line)
			<< "expected " << a_text << " to equal " << b_text
			<< "\n  left:  " << (a ? a : "NULL") << "\n  right: " << (b ? b : "NULL");
	return same;
}

bool sl_test_contains(const char *file, int line, const char *haystack, const char *needle)
{
	bool found = haystack && strstr(haystack, needle);

	if (!found)
		ADD_FAILURE_AT(file, line) << "expected to find \"" << needle << "\" in:\n"
					   << (haystack ? haystack : "NULL");
	return found;
}

bool sl_test_mem(const char *file, int line, const char *a_text, const char *b_text, const void *a,
	const void *b, size_t len_bytes)
{
	bool same = memcmp(a, b, len_bytes) == 0;

	if (!same)
		ADD_FAILURE_AT(file, line)
			<< "expected " << len_bytes << " equal bytes in " << a_text << " and "
			<< b_text << "\n  left:  " << hex(a, len_bytes)
			<< "\n  right: " << hex(b, len_bytes);
	return same;
}

bool sl_test_true(const char *file, int line, const char *text, bool holds)
{
	if (!holds)
		ADD_FAILURE_AT(file, line) << "expected " << text;
	return holds;
}

void sl_test_trace_push(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	traces.push_back(new testing::ScopedTrace(file, line, format(fmt, args)));
	va_end(args);
}

void sl_test_trace_pop(void)
{
	delete traces.back();
	traces.pop_back();
}

void sl_test_fail(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	ADD_FAILURE_AT(file, line) << format(fmt, args);
	va_end(args);
}

void sl_test_skip(const char *file, int line, const char *fmt, ...)
{
	va_list args;
	std::string reason;

	va_start(args, fmt);
	reason = format(fmt, args);
	va_end(args);
	[&] { GTEST_SKIP_(reason.c_str()); }();
	(void)file;
	(void)line;
}

bool sl_test_has_failed(void)
{
	return testing::Test::HasFailure();
}

int main(int argc, char **argv)
{
	testing::InitGoogleTest(&argc, argv);
	return RUN_ALL_TESTS();
}
