#include "oracle_pcap.h"

#include <pcap/pcap.h>

uint32_t oracle_pcap_run(
	const struct sock_filter *filter, unsigned count, const uint8_t *packet, uint32_t len)
{
	struct bpf_program program = { count, (struct bpf_insn *)filter };
	const struct pcap_pkthdr header = { .caplen = len, .len = len };

	return (uint32_t)pcap_offline_filter(&program, &header, packet);
}

bool oracle_pcap_valid(const struct sock_filter *filter, unsigned count)
{
	return bpf_validate((const struct bpf_insn *)filter, (int)count);
}
