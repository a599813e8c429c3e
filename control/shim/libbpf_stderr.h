#pragma once

#include <stdio.h>

extern FILE *sl_libbpf_stderr __attribute__((visibility("hidden")));
