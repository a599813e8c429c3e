#pragma once

/* What the entry templates know of the program that they are compiled with; any may be unset. */
enum sl_traits {
	SL_TRAIT_MOVES_PACKET = 1 << 0, /* data, data_end may change */
	SL_TRAIT_REDIRECTS = 1 << 1, /* may ask for a redirect */
};
