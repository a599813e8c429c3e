#include "pcap_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

enum { SNAPLEN = 262144, NS_PER_S = 1000000000 };

struct sl_pcap_file {
	pcap_t *pcap;
	pcap_dumper_t *dump;
};

struct sl_pcap_file *sl_pcap_file_new(const char *path, char *why, unsigned size)
{
	struct sl_pcap_file *file = calloc(1, sizeof(*file));

	if (file)
		file->pcap = pcap_open_dead_with_tstamp_precision(
			DLT_EN10MB, SNAPLEN, PCAP_TSTAMP_PRECISION_NANO);
	if (!file || !file->pcap) {
		snprintf(why, size, "%s", strerror(ENOMEM));
		free(file);
		return NULL;
	}
	file->dump = pcap_dump_open(file->pcap, path);
	if (file->dump)
		return file;
	snprintf(why, size, "%s", pcap_geterr(file->pcap));
	pcap_close(file->pcap);
	free(file);
	return NULL;
}

void sl_pcap_file_add(struct sl_pcap_file *file, uint64_t time_ns, const uint8_t *data,
	uint32_t captured, uint32_t len)
{
	/* The name of tv_usec lies: the file was opened for nanoseconds. */
	struct pcap_pkthdr header = {
		.caplen = captured,
		.len = len,
		.ts = { .tv_sec = (time_t)(time_ns / NS_PER_S),
			.tv_usec = (suseconds_t)(time_ns % NS_PER_S) },
	};

	pcap_dump((u_char *)file->dump, &header, data);
}

int sl_pcap_file_free(struct sl_pcap_file *file)
{
	int err = 0;

	if (!file)
		return 0;
	errno = 0;
	if (pcap_dump_flush(file->dump) != 0 || ferror(pcap_dump_file(file->dump)))
		err = errno ? -errno : -EIO;
	pcap_dump_close(file->dump);
	pcap_close(file->pcap);
	free(file);
	return err;
}
