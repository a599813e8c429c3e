#include <sluice/bpf.h>

#include "api.h"
#include "serve_xsk.h"

const struct sl_api sl_api_in_process = {
	.bpf = sluice_bpf,
	.perf_event_open = sluice_perf_event_open,
	.perf_mmap = sluice_perf_mmap,
	.perf_munmap = sluice_perf_munmap,
	.perf_ioctl = sluice_perf_ioctl,
	.ringbuf_mmap = sluice_ringbuf_mmap,
	.ringbuf_event_fd = sluice_ringbuf_event_fd,
	.ringbuf_before_wait = sluice_ringbuf_before_wait,
	.xsk_mmap = sl_serve_xsk_mmap,
	.xsk_watch = sl_serve_xsk_watch,
	.xsk_before_wait = sl_serve_xsk_before_wait,
	.fdinfo = sluice_fdinfo,
};
