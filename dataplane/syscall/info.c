#include <bpf/btf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "btf.h"
#include "command.h"
#include "extension_link.h"
#include "clock.h"
#include "facts.h"
#include "fd.h"
#include "link.h"
#include "map.h"
#include "prog.h"
#include "user.h"

/*
 * BPF_OBJ_GET_INFO_BY_FD. The caller's struct says where arrays go and how many elements fit; it
 * gets what fits and how many there are. The struct itself may be shorter or longer than ours.
 */

static int read_info(const struct sl_call *call, void *info, size_t size)
{
	return sl_user_read_struct(info, size, call->attr->info.info, call->attr->info.info_len);
}

static int write_info(const struct sl_call *call, const void *info, size_t size)
{
	uint32_t len = sl_min(call->attr->info.info_len, (uint32_t)size);

	if (sl_user_write(call->attr->info.info, info, len) ||
		sl_call_put(call, info.info_len, len))
		return -EFAULT;
	return 0;
}

/* An array for the caller: `room` elements fit at `address`, there are `count`. */
static int give_array(
	uint64_t address, uint32_t room, const void *elements, uint32_t count, size_t size)
{
	if (!room || !count)
		return 0;
	return sl_user_write(address, elements, sl_min(room, count) * size);
}

/* The instructions with maps named by id: descriptors mean nothing to others. */
static int give_insns(const struct sl_prog *prog, const uint32_t *map_ids, uint32_t map_count,
	uint64_t address, uint32_t room_bytes)
{
	size_t len = (size_t)prog->insn_count * sizeof(struct bpf_insn);
	struct bpf_insn *insns;
	int err;

	if (!room_bytes)
		return 0;
	insns = malloc(len);
	if (!insns)
		return -ENOMEM;
	memcpy(insns, prog->insns, len);
	for (uint32_t i = 0; i + 1 < prog->insn_count; i++) {
		uint32_t map = prog->facts->insns[i].map;

		if (insns[i].code != (BPF_LD | BPF_IMM | BPF_DW))
			continue;
		if (insns[i].src_reg == BPF_PSEUDO_MAP_IDX)
			insns[i].src_reg = BPF_PSEUDO_MAP_FD;
		if (insns[i].src_reg == BPF_PSEUDO_MAP_IDX_VALUE)
			insns[i].src_reg = BPF_PSEUDO_MAP_VALUE;
		if ((insns[i].src_reg == BPF_PSEUDO_MAP_FD ||
			    insns[i].src_reg == BPF_PSEUDO_MAP_VALUE) &&
			map < map_count)
			insns[i].imm = map_ids[map];
		i++;
	}
	err = sl_user_write(address, insns, sl_min(len, (size_t)room_bytes));
	free(insns);
	return err;
}

/* As the kernel with kernel.bpf_stats_enabled=1. */
static void sum_stats(const struct sl_prog *prog, struct bpf_prog_info *info)
{
	struct sl_prog_stats sum;

	sl_prog_stats_sum(prog, &sum);
	info->run_cnt = sum.run_count;
	info->run_time_ns = sl_clock_cycles_ns(sum.cycles);
}

/* What the caller asked to have copied; then `info` gets how much there is of each. */
static int give_prog_arrays(struct sl_prog *prog, struct bpf_prog_info *info)
{
	uint32_t *map_ids, map_count, one_len = prog->own_code->text_len_bytes;
	uint64_t address = (uintptr_t)prog->own_code->run;
	int err;

	err = sl_prog_map_ids(prog, &map_ids, &map_count);
	if (err)
		return err;
	err = give_array(info->map_ids, info->nr_map_ids, map_ids, map_count, sizeof(*map_ids));
	if (!err)
		err = give_insns(
			prog, map_ids, map_count, info->xlated_prog_insns, info->xlated_prog_len);
	free(map_ids);
	info->nr_map_ids = map_count;
	if (!err)
		err = give_array(info->jited_prog_insns, info->jited_prog_len, prog->own_code->text,
			prog->own_code->text_len_bytes, 1);
	if (!err)
		err = give_array(
			info->jited_ksyms, info->nr_jited_ksyms, &address, 1, sizeof(address));
	if (!err)
		err = give_array(info->jited_func_lens, info->nr_jited_func_lens, &one_len, 1,
			sizeof(one_len));
	if (!err)
		err = give_array(info->func_info, info->nr_func_info, prog->func_info,
			prog->func_info_count, sizeof(struct bpf_func_info));
	if (!err)
		err = give_array(info->line_info, info->nr_line_info, prog->line_info,
			prog->line_info_count, sizeof(struct bpf_line_info));
	if (!err)
		err = give_array(info->prog_tags, info->nr_prog_tags, prog->tag, 1, BPF_TAG_SIZE);
	return err;
}

static int check_record_sizes(const struct bpf_prog_info *info)
{
	if ((info->nr_func_info || info->func_info_rec_size) &&
		info->func_info_rec_size != sizeof(struct bpf_func_info))
		return -EINVAL;
	if ((info->nr_line_info || info->line_info_rec_size) &&
		info->line_info_rec_size != sizeof(struct bpf_line_info))
		return -EINVAL;
	if ((info->nr_jited_line_info || info->jited_line_info_rec_size) &&
		info->jited_line_info_rec_size != sizeof(uint64_t))
		return -EINVAL;
	return 0;
}

static int prog_info(const struct sl_call *call, struct sl_prog *prog)
{
	struct bpf_prog_info info, out;
	int err;

	err = read_info(call, &info, sizeof(info));
	if (!err)
		err = check_record_sizes(&info);
	if (!err)
		err = give_prog_arrays(prog, &info);
	if (err)
		return err;
	out = info;
	out.type = prog->type;
	out.id = prog->obj.id;
	out.load_time = prog->load_time_ns;
	out.created_by_uid = prog->uid;
	out.gpl_compatible = prog->gpl_compatible;
	memcpy(out.tag, prog->tag, sizeof(out.tag));
	memcpy(out.name, prog->name, sizeof(out.name));
	out.xlated_prog_len = prog->insn_count * sizeof(struct bpf_insn);
	out.jited_prog_len = prog->own_code->text_len_bytes;
	out.nr_jited_ksyms = out.nr_jited_func_lens = out.nr_prog_tags = 1;
	out.btf_id = prog->btf ? prog->btf->obj.id : 0;
	out.func_info_rec_size = sizeof(struct bpf_func_info);
	out.line_info_rec_size = sizeof(struct bpf_line_info);
	out.jited_line_info_rec_size = sizeof(uint64_t);
	out.nr_func_info = prog->func_info_count;
	out.nr_line_info = prog->line_info_count;
	out.nr_jited_line_info = 0;
	out.recursion_misses = 0;
	out.ifindex = 0;
	out.netns_dev = out.netns_ino = 0;
	out.verified_insns = prog->verified_insns;
	out.attach_btf_obj_id = sl_extension_target_btf(prog);
	out.attach_btf_id = prog->target_btf_id;
	sum_stats(prog, &out);
	return write_info(call, &out, sizeof(out));
}

static int map_info(const struct sl_call *call, struct sl_map *map)
{
	struct bpf_map_info info;
	int err;

	err = read_info(call, &info, sizeof(info));
	if (err)
		return err;
	memset(&info, 0, sizeof(info));
	info.type = map->desc.type;
	info.id = map->obj.id;
	info.key_size = map->desc.key_size;
	info.value_size = map->desc.value_size;
	info.max_entries = map->desc.max_entries;
	info.map_flags = map->desc.flags;
	info.map_extra = map->map_extra;
	memcpy(info.name, map->name, sizeof(info.name));
	if (map->btf) {
		info.btf_id = map->btf->obj.id;
		info.btf_key_type_id = map->btf_key_type_id;
		info.btf_value_type_id = map->btf_value_type_id;
	}
	return write_info(call, &info, sizeof(info));
}

static int btf_info(const struct sl_call *call, struct sl_btf *btf)
{
	struct bpf_btf_info info;
	int err;

	err = read_info(call, &info, sizeof(info));
	if (err)
		return err;
	err = give_array(info.btf, info.btf_size, btf->data, btf->size, 1);
	if (!err && (info.name != 0) != (info.name_len != 0))
		err = -EINVAL;
	if (!err && info.name) /* blobs of programs have no name */
		err = sl_user_write(info.name, "", 1);
	if (err)
		return err;
	info.id = btf->obj.id;
	info.btf_size = btf->size;
	info.kernel_btf = 0;
	info.name_len = 0;
	return write_info(call, &info, sizeof(info));
}

static int link_info(const struct sl_call *call, struct sl_link *link)
{
	struct sl_prog *prog = sl_link_get_prog(link);
	struct bpf_link_info info;
	int err;

	err = read_info(call, &info, sizeof(info));
	if (!err) {
		memset(&info, 0, sizeof(info));
		info.type = link->ops->type;
		info.id = link->obj.id;
		info.prog_id = prog ? prog->obj.id : 0;
		if (link->ops->info)
			link->ops->info(link, &info);
		err = write_info(call, &info, sizeof(info));
	}
	if (prog)
		sl_object_unref(&prog->obj);
	return err;
}

int sl_cmd_obj_info(const struct sl_call *call)
{
	struct sl_object *obj;
	int access, err;

	err = sl_fd_get_any(call->attr->info.bpf_fd, &obj, &access);
	if (err)
		return err == -EBADF ? -EBADFD : err; /* this command's own idea of it */
	switch (obj->type) {
	case SL_OBJECT_PROG:
		err = prog_info(call, sl_prog_of(obj));
		break;
	case SL_OBJECT_MAP:
		err = map_info(call, sl_map_of(obj));
		break;
	case SL_OBJECT_BTF:
		err = btf_info(call, sl_btf_of(obj));
		break;
	case SL_OBJECT_LINK:
		err = link_info(call, sl_link_of(obj));
		break;
	default:
		err = -EINVAL;
	}
	sl_object_unref(obj);
	return err;
}
