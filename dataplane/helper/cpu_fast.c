#include "row.h"

SL_FAST
SL_HELPER_FN(get_smp_processor_id)
{
	return ctx->cpu;
}
