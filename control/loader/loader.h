#pragma once

#include <linux/bpf.h>
#include <stdbool.h>
#include <stddef.h>

struct bpf_object;

/*
 * libbpf, for object files of any age and maker. What libbpf of today reads goes to it as it is;
 * what it refuses but its forerunners and iproute2 took is brought into the form that it reads:
 *
 * - maps in a section "maps", with what iproute2 made of them: pins, maps of maps, and programs in
 *   sections "ID/SLOT" in the slots of the PROG_ARRAY with that id;
 * - entry functions that are static, or that an old assembler gave no type;
 * - section names that it does not know (yet, or any more).
 *
 * Pins are kept by bpf(2) alone, so that no bpf file system needs to be mounted.
 */
struct sl_loader;

enum { SL_LOADER_WHY_MAX = 256 };

struct sl_loader_options {
	bool unpinned; /* maps are new, whatever the object says, and stay unpinned */
	/*
	 * What is to be pinned must be there already, and stays as it is: the load is refused if it
	 * would set slots in it. So a load that is given up leaves nothing behind.
	 */
	bool pinned_before;
};

/*
 * Opens an object. The programs that have a type by their section's name have it afterwards. 0, or
 * a negative errno and in one line why. Control threads only, as all below.
 */
int sl_loader_open(const char *path, const struct sl_loader_options *options,
	struct sl_loader **ret_loader, char why[SL_LOADER_WHY_MAX]);
void sl_loader_free(struct sl_loader *loader);

/* libbpf's, owned by the loader. */
struct bpf_object *sl_loader_object(const struct sl_loader *loader);

/* The type of the programs in sections "ID/SLOT": that of those which jump there. */
void sl_loader_type_tail_calls(struct sl_loader *loader, enum bpf_prog_type type);

/*
 * Creates the maps and loads the programs, but those without a type and those that the caller has
 * told libbpf not to load. 0, or a negative errno and why: the verifier's reason if it was that.
 */
int sl_loader_load(struct sl_loader *loader, char why[SL_LOADER_WHY_MAX]);
