#!/bin/sh
# link.sh LLVM_LINK LLVM_AS OUTPUT BITCODE...: one module of all that programs may call.
#
# What is referenced from a program is linked into it and nothing else: that is what link-once
# linkage means to the linker. The attributes that say for which CPU clang compiled would keep
# functions from being inlined into programs for another, and give the code generator one target
# more to set up; the list of used symbols would keep everything.
set -e
llvm_link=$1
llvm_as=$2
output=$3
shift 3
"$llvm_link" -S -o "$output.ll" "$@"
sed -E -e 's/"(target-cpu|target-features|tune-cpu|min-legal-vector-width)"="[^"]*" ?//g' \
	-e '/^define internal /!s/^define (dso_local )?/define linkonce_odr /' \
	-e '/^@llvm\.(compiler\.)?used = /d' "$output.ll" >"$output.linkonce.ll"
"$llvm_as" -o "$output" "$output.linkonce.ll"
rm -f "$output.ll" "$output.linkonce.ll"
