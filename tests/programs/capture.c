#include "capture.h"

/* In a file of its own: pcap's headers define a struct bpf_insn of their own. */
#include <pcap/pcap.h>
#include <string.h>

unsigned capture_read(const char *path, struct packet *packets, unsigned max)
{
	char error[PCAP_ERRBUF_SIZE];
	struct pcap_pkthdr *header;
	const unsigned char *data;
	unsigned n = 0;
	pcap_t *pcap;

	pcap = pcap_open_offline(path, error);
	if (!pcap)
		return 0;
	while (n < max && pcap_next_ex(pcap, &header, &data) == 1) {
		packets[n].len = header->caplen < PACKET_MAX ? header->caplen : PACKET_MAX;
		memcpy(packets[n].data, data, packets[n].len);
		n++;
	}
	pcap_close(pcap);
	return n;
}
