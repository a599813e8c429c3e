#pragma once

#include <stdbool.h>
#include <stdint.h>

struct btf;
struct btf_type;
struct sl_env;

/* An access to a struct of some BTF, followed to the member that it is of. */
struct sl_btf_walk {
	struct sl_env *env; /* for the log */
	const struct btf *btf;
	uint32_t off, size; /* of the access; off is left relative to the innermost struct */
	/* Each member on the way in, the last one included. NULL: nobody wants to know. */
	void (*passes)(struct sl_btf_walk *walk, const struct btf_type *of, unsigned member,
		uint32_t member_off);
	void *arg;
	bool in_union; /* of several members, any of which may be there */
};

enum sl_btf_found {
	SL_BTF_NUMBER, /* part of something that is no pointer to a struct */
	SL_BTF_POINTER, /* the whole of one that is */
};

/*
 * What [off, off + size) of a struct is: enum sl_btf_found, or a negative errno and the reason in the
 * log, as the kernel's btf_struct_access has them.
 */
int sl_btf_walk(struct sl_btf_walk *walk, uint32_t type_id);
