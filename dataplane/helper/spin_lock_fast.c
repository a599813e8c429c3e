#include "spin_lock.h"

#include "row.h"

SL_FAST
SL_HELPER_FN(spin_lock)
{
	sl_spin_lock((uint32_t *)r1);
	return 0;
}

SL_FAST
SL_HELPER_FN(spin_unlock)
{
	sl_spin_unlock((uint32_t *)r1);
	return 0;
}
