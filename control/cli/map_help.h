#pragma once

/* What `sluice map --help` prints. */
extern const char sl_map_help[];
