#pragma once

/* What extend.bpf.c and extension.bpf.c count. */
enum {
	COUNT_SEEN, /* packets that came to the target */
	COUNT_FIRST, /* of these, those that went to its function */
	COUNT_EXTENSION, /* and those that went to what is in its place */
	COUNT_SECOND,
	COUNT_SECOND_EXTENSION,
	COUNT_TIMER, /* calls of the extension's callback */
	COUNTS
};
