#pragma once

/* What concurrency.bpf.c counts, and what it shares with the test that loads it. */
enum {
	COUNT_SEEN, /* packets that came to a front program */
	COUNT_ASIDE, /* of these, those that went through a side program */
	COUNT_SAME, /* both stages were of one generation */
	COUNT_MIXED,
	COUNT_MISSED, /* a stage was empty */
	COUNT_BAD_VALUE, /* of a flow: none that anybody has ever written */
	COUNT_FILTERED, /* by TC */
	COUNTS
};

enum { FLOWS = 512, FLOW_MAGIC = 0x51c7 };
