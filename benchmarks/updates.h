#pragma once

/* What updates.c and its program agree on. */
enum { UPDATES_ENTRIES = 64 << 10 };
