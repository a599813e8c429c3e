#include "row.h"

const struct sl_helper sl_helper_get_prandom_u32 = { SL_ROW(get_prandom_u32, ANY) };
