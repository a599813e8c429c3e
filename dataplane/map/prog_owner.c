#include "prog_owner.h"

#include <errno.h>

#include "prog.h"

int sl_prog_owner_check(struct sl_prog_owner *owner, const struct sl_prog *prog, bool same_attach)
{
	bool has_frags = prog->flags & BPF_F_XDP_HAS_FRAGS;

	if (prog->bound_device)
		return -EINVAL;
	if (!owner->known)
		*owner = (struct sl_prog_owner){
			.known = true,
			.xdp_has_frags = has_frags,
			.type = prog->rules_type,
			.expected_attach_type = prog->expected_attach_type,
		};
	if (owner->type != prog->rules_type || owner->xdp_has_frags != has_frags)
		return -EINVAL;
	if (same_attach && owner->expected_attach_type != prog->expected_attach_type)
		return -EINVAL;
	return 0;
}
