#!/bin/sh
# embed.sh BITCODE OUTPUT: assembler source that embeds the runtime's bitcode. Written anew whenever
# the bitcode changes, so that what includes it is assembled anew.
cat >"$2" <<END
	.section .rodata
	.globl sl_runtime_bc, sl_runtime_bc_end
	.balign 16
sl_runtime_bc:
	.incbin "$(realpath "$1")"
sl_runtime_bc_end:
	.section .note.GNU-stack,"",@progbits
END
