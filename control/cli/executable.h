#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Where execvp() would find `name`. False when it would not. */
bool sl_executable_find(const char *name, char *ret_path, size_t size);

/* Whether the file is an ELF executable without a dynamic loader, which preloads nothing. */
bool sl_executable_is_static(const char *path);
