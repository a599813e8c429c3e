/* The packet path once more, for while somebody watches: see loop.c. */
#define WATCHED 1
#include "loop.c"
