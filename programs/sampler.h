#pragma once

/* The header of each event of sampler.bpf.o; the first bytes of the packet follow. */
struct sample {
	unsigned long long time_ns;
	unsigned int ifindex;
	unsigned int rx_queue;
	unsigned short len_bytes; /* of the packet */
	unsigned short captured_bytes; /* that follow */
	unsigned int number; /* how many packets this CPU has sampled before */
};

#define SAMPLE_CAPTURE_MAX 128
