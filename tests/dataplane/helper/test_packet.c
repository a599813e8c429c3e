#include "test_packet.h"

#include <string.h>

void test_packet_init(struct test_packet *packet, bool is_skb, const void *bytes, unsigned len)
{
	memset(packet, 0, sizeof(*packet));
	packet->mbuf.buf_addr = packet->buf;
	packet->mbuf.buf_len = sizeof(packet->buf);
	packet->mbuf.data_off = TEST_HEADROOM - SL_HEADROOM_SPARE;
	packet->mbuf.data_len = len;
	packet->mbuf.pkt_len = len;
	packet->mbuf.nb_segs = 1;
	for (unsigned i = 0; i < len; i++)
		packet->buf[packet->mbuf.data_off + i] = bytes ? ((const uint8_t *)bytes)[i] : i;
	packet->ctx.run = &packet->run;
	if (is_skb)
		sl_packet_begin_skb(&packet->ctx, &packet->mbuf);
	else
		sl_packet_begin(&packet->ctx, &packet->mbuf);
}
