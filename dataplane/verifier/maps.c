#include "env.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fd.h"
#include "map.h"
#include "prog.h"

/*
 * Maps that the program names: the descriptor (or its place in fd_array) in a wide load becomes a
 * reference held by the program, and the address of a value where the load asks for one.
 */

static int add_map(struct sl_env *env, struct sl_map *map, uint32_t *ret_index)
{
	struct sl_prog *prog = env->prog;
	struct sl_map **maps;

	for (uint32_t i = 0; i < prog->used_map_count; i++)
		if (prog->used_maps[i] == map) {
			*ret_index = i;
			sl_map_unref(map);
			return 0;
		}
	if (prog->used_map_count == SL_MAX_USED_MAPS) {
		sl_say(env, "The total number of maps per program has reached the limit of %u\n",
			SL_MAX_USED_MAPS);
		sl_map_unref(map);
		return -E2BIG;
	}
	maps = realloc(prog->used_maps, (prog->used_map_count + 1) * sizeof(struct sl_map *));
	if (!maps) {
		sl_map_unref(map);
		return -ENOMEM;
	}
	prog->used_maps = maps;
	*ret_index = prog->used_map_count;
	maps[prog->used_map_count++] = map;
	return 0;
}

static int find_map(struct sl_env *env, const struct bpf_insn *insn, uint32_t *ret_index)
{
	struct sl_object *obj;
	int fd = insn->imm, err;

	if (insn->src_reg == BPF_PSEUDO_MAP_IDX || insn->src_reg == BPF_PSEUDO_MAP_IDX_VALUE) {
		if (!env->prog->fd_array) {
			sl_say(env, "fd_idx without fd_array is invalid\n");
			return -EPROTO;
		}
		fd = env->prog->fd_array[insn->imm];
	}
	err = sl_fd_get(fd, SL_OBJECT_MAP, &obj);
	if (err) {
		sl_say(env, "fd %d is not pointing to valid bpf_map\n", fd);
		return err;
	}
	return add_map(env, sl_map_of(obj), ret_index);
}

int sl_maps_resolve(void *arg, uint32_t index)
{
	struct sl_env *env = arg;
	const struct bpf_insn *insn = &env->prog->insns[index];
	struct sl_insn_fact *fact = &env->facts->insns[index];
	bool value =
		insn->src_reg == BPF_PSEUDO_MAP_VALUE || insn->src_reg == BPF_PSEUDO_MAP_IDX_VALUE;
	uint32_t off = (uint32_t)insn[1].imm;
	const struct sl_map *map;
	int err;

	err = find_map(env, insn, &fact->map);
	if (err)
		return err;
	map = env->prog->used_maps[fact->map];
	err = sl_check_lock_map(env, map);
	if (err)
		return err;
	if (!value) {
		fact->imm = (uint64_t)(uintptr_t)map;
		return 0;
	}
	if (off >= SL_MAX_VAR_OFF) {
		sl_say(env, "direct value offset of %u is not allowed\n", off);
		return -EINVAL;
	}
	if (!map->ops->direct_value) {
		sl_say(env, "no direct value access support for this map type\n");
		return -EINVAL;
	}
	err = map->ops->direct_value(map, off, &fact->imm);
	if (err)
		sl_say(env, "invalid access to map value pointer, value_size=%u off=%u\n",
			map->desc.value_size, off);
	return err;
}

int sl_maps_check_ld_imm64(struct sl_env *env, const struct bpf_insn *insn)
{
	struct sl_insn_fact *fact = &env->facts->insns[env->insn];
	struct sl_reg *dst = sl_env_reg(env, insn->dst_reg);
	int err = sl_check_write(env, insn->dst_reg), func;

	if (err)
		return err;
	switch (insn->src_reg) {
	case 0:
		fact->imm = (uint32_t)insn[0].imm | (uint64_t)(uint32_t)insn[1].imm << 32;
		sl_reg_set_const(dst, fact->imm);
		return 0;
	case BPF_PSEUDO_FUNC:
		func = sl_cfg_func_at(env->cfg, env->insn + insn->imm + 1);
		if (func < 0)
			return -EINVAL;
		err = sl_callback_check_address(env, (uint32_t)func);
		if (err)
			return err;
		sl_reg_set_pointer(dst, SL_REG_FUNC);
		dst->func = (uint32_t)func;
		fact->imm = (uint64_t)func;
		return 0;
	case BPF_PSEUDO_MAP_VALUE:
	case BPF_PSEUDO_MAP_IDX_VALUE:
		sl_reg_set_pointer(dst, SL_REG_MAP_VALUE);
		dst->off = insn[1].imm;
		break;
	case BPF_PSEUDO_MAP_FD:
	case BPF_PSEUDO_MAP_IDX:
		sl_reg_set_pointer(dst, SL_REG_CONST_MAP);
		break;
	default:
		sl_say(env, "unrecognized bpf_ld_imm64 insn\n");
		return -EINVAL;
	}
	dst->map = env->prog->used_maps[fact->map];
	return 0;
}

/* The values can no longer change: user space froze the map, programs may only read it. */
bool sl_map_is_constant(const struct sl_map *map)
{
	return (map->desc.flags & BPF_F_RDONLY_PROG) && map->frozen && map->ops->direct_value;
}

int sl_map_read_constant(const struct sl_map *map, uint32_t off, unsigned size, uint64_t *ret_value)
{
	uint64_t address, value = 0;
	int err;

	if ((uint64_t)off + size > map->desc.value_size)
		return -EINVAL;
	err = map->ops->direct_value(map, off, &address);
	if (err)
		return err;
	memcpy(&value, (const void *)(uintptr_t)address, size);
	*ret_value = value;
	return 0;
}
