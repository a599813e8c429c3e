/* Apart, because libpcap's and Linux's bpf.h do not go together. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pcap/pcap.h>

#include "packet_filter.h"

/* struct sock_filter. */
struct insn {
	uint16_t code;
	uint8_t jt, jf;
	uint32_t k;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* older libpcaps compile one at a time */

int sl_filter_compile(const char *text, int raw, uint32_t snaplen, struct sock_filter **ret_insns,
	unsigned *ret_count, char *why, size_t why_size)
{
	struct bpf_program program;
	struct insn *insns = NULL;
	pcap_t *pcap;
	int err = 0;

	pthread_mutex_lock(&lock);
	pcap = pcap_open_dead(
		raw ? DLT_RAW : DLT_EN10MB, snaplen && snaplen < 262144 ? (int)snaplen : 262144);
	if (!pcap) {
		snprintf(why, why_size, "%s", strerror(ENOMEM));
		err = -ENOMEM;
	} else if (pcap_compile(pcap, &program, text, 1, PCAP_NETMASK_UNKNOWN) != 0) {
		snprintf(why, why_size, "%s", pcap_geterr(pcap));
		err = -EINVAL;
	}
	if (!err) {
		insns = calloc(program.bf_len, sizeof(*insns));
		for (unsigned i = 0; insns && i < program.bf_len; i++)
			insns[i] = (struct insn){ program.bf_insns[i].code, program.bf_insns[i].jt,
				program.bf_insns[i].jf, program.bf_insns[i].k };
		*ret_insns = (struct sock_filter *)insns;
		*ret_count = program.bf_len;
		pcap_freecode(&program);
		err = insns ? 0 : -ENOMEM;
	}
	if (pcap)
		pcap_close(pcap);
	pthread_mutex_unlock(&lock);
	return err;
}
