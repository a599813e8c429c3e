#include "tag.h"

#include <endian.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>

#include "prog.h"

/*
 * SHA-256 (FIPS 180-4) over the instructions without descriptor numbers, of which a tag keeps the
 * first bytes: what Linux computes since 6.18 (before, it was SHA-1).
 */

static const uint32_t rounds[64] = {
	0x428a2f98,
	0x71374491,
	0xb5c0fbcf,
	0xe9b5dba5,
	0x3956c25b,
	0x59f111f1,
	0x923f82a4,
	0xab1c5ed5,
	0xd807aa98,
	0x12835b01,
	0x243185be,
	0x550c7dc3,
	0x72be5d74,
	0x80deb1fe,
	0x9bdc06a7,
	0xc19bf174,
	0xe49b69c1,
	0xefbe4786,
	0x0fc19dc6,
	0x240ca1cc,
	0x2de92c6f,
	0x4a7484aa,
	0x5cb0a9dc,
	0x76f988da,
	0x983e5152,
	0xa831c66d,
	0xb00327c8,
	0xbf597fc7,
	0xc6e00bf3,
	0xd5a79147,
	0x06ca6351,
	0x14292967,
	0x27b70a85,
	0x2e1b2138,
	0x4d2c6dfc,
	0x53380d13,
	0x650a7354,
	0x766a0abb,
	0x81c2c92e,
	0x92722c85,
	0xa2bfe8a1,
	0xa81a664b,
	0xc24b8b70,
	0xc76c51a3,
	0xd192e819,
	0xd6990624,
	0xf40e3585,
	0x106aa070,
	0x19a4c116,
	0x1e376c08,
	0x2748774c,
	0x34b0bcb5,
	0x391c0cb3,
	0x4ed8aa4a,
	0x5b9cca4f,
	0x682e6ff3,
	0x748f82ee,
	0x78a5636f,
	0x84c87814,
	0x8cc70208,
	0x90befffa,
	0xa4506ceb,
	0xbef9a3f7,
	0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static void hash_block(uint32_t state[8], const uint8_t block[64])
{
	uint32_t w[64], s[8];

	for (unsigned i = 0; i < 16; i++) {
		uint32_t word;

		memcpy(&word, block + 4 * i, sizeof(word));
		w[i] = be32toh(word);
	}
	for (unsigned i = 16; i < 64; i++) {
		uint32_t a = w[i - 15], b = w[i - 2];

		w[i] = w[i - 16] + (rotate(a, 7) ^ rotate(a, 18) ^ a >> 3) + w[i - 7] +
		       (rotate(b, 17) ^ rotate(b, 19) ^ b >> 10);
	}
	memcpy(s, state, sizeof(s));
	for (unsigned i = 0; i < 64; i++) {
		uint32_t e = s[4], a = s[0];
		uint32_t t1 = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
			      ((e & s[5]) ^ (~e & s[6])) + rounds[i] + w[i];
		uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
			      ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));

		memmove(s + 1, s, 7 * sizeof(s[0]));
		s[4] += t1;
		s[0] = t1 + t2;
	}
	for (unsigned i = 0; i < 8; i++)
		state[i] += s[i];
}

/* `data` has room for the padding, 72 bytes. */
static void hash(uint8_t *data, size_t len, uint8_t tag[BPF_TAG_SIZE])
{
	uint32_t state[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
		0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };
	uint64_t bits = htobe64((uint64_t)len * 8);
	size_t padded = sl_round_up(len + 1 + sizeof(bits), (size_t)64);

	memset(data + len, 0, padded - len);
	data[len] = 0x80;
	memcpy(data + padded - sizeof(bits), &bits, sizeof(bits));
	for (size_t at = 0; at < padded; at += 64)
		hash_block(state, data + at);
	for (unsigned i = 0; i < BPF_TAG_SIZE / 4; i++) {
		uint32_t word = htobe32(state[i]);

		memcpy(tag + 4 * i, &word, sizeof(word));
	}
}

int sl_prog_set_tag(struct sl_prog *prog)
{
	size_t len = (size_t)prog->insn_count * sizeof(struct bpf_insn);
	uint8_t *data = malloc(len + 72);
	struct bpf_insn *insns = (struct bpf_insn *)data;

	if (!data)
		return -ENOMEM;
	memcpy(data, prog->insns, len);
	for (uint32_t i = 0; i + 1 < prog->insn_count; i++) {
		if (insns[i].code != (BPF_LD | BPF_IMM | BPF_DW) ||
			(insns[i].src_reg != BPF_PSEUDO_MAP_FD &&
				insns[i].src_reg != BPF_PSEUDO_MAP_VALUE))
			continue;
		insns[i].imm = 0;
		insns[++i].imm = 0;
	}
	hash(data, len, prog->tag);
	free(data);
	return 0;
}
