#pragma once

#include "field.h"

/* The tables behind field.h, in order of offset. */
extern const struct sl_field sl_xdp_fields[];
extern const unsigned sl_xdp_field_count;
extern const struct sl_field sl_skb_fields[];
extern const unsigned sl_skb_field_count;
