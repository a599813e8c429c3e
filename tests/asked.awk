# asked.awk docs/compatibility.md LOG...: adds up the lines of tests/shim/asked.c and prints them with
# the names that compatibility.md has for the numbers.
BEGIN {
	FS = " *[|] *"
	command[0] = "create"; command[1] = "lookup"; command[2] = "update"; command[3] = "delete"
	command[4] = "next"; command[21] = "pop"; command[22] = "freeze"; command[24] = "lookup_batch"
	command[25] = "pop_batch"; command[26] = "update_batch"; command[27] = "delete_batch"
}
/^## / { section = $0 }
section == "## Map types" && $2 ~ /^[0-9]+$/ { map[$2] = $3; maps = $2 > maps + 0 ? $2 : maps }
section == "## Helpers" && $2 ~ /^[0-9]+$/ {
	helper[$2] = $3
	there[$2] = /[|] yes [|]/
	helpers = $2 > helpers + 0 ? $2 : helpers
}
/^asked map / {
	split($0, f, " ")
	times[f[3], command[f[4]]] += f[5]
	refused[f[3], command[f[4]]] += f[6]
	any = 1
}
/^asked helper / {
	split($0, f, " ")
	loads[f[3]] += f[4]
	loads_refused[f[3]] += f[5]
	runs[f[3]] += f[6]
	any = 1
}
function cell(n, bad) { return n ? n (bad ? "(" bad ")" : "") : "." }
END {
	if (!any)
		exit
	count = split("create lookup update delete next pop lookup_batch update_batch delete_batch pop_batch freeze", columns, " ")
	print "\ncompared with the kernel: operations by map type (of which it refused)"
	printf "%-18s", ""
	for (c = 1; c <= count; c++)
		printf " %13s", columns[c]
	print ""
	for (id = 1; id <= maps; id++) {
		if (!times[id, "create"])
			continue
		printf "%-18s", map[id]
		for (c = 1; c <= count; c++)
			printf " %13s", cell(times[id, columns[c]], refused[id, columns[c]])
		print ""
	}
	print "\ncompared with the kernel: programs by helper (of which it refused), and their runs"
	for (id = 1; id <= helpers; id++) {
		if (!loads[id] && there[id])
			never = never " " helper[id]
		if (!loads[id] || !(id in helper))
			continue
		printf "%-36s %14s %8s%s", helper[id], cell(loads[id], loads_refused[id]), cell(runs[id]), ++n % 2 ? "   " : "\n"
	}
	print n % 2 ? "\n" : ""
	if (all && never)
		print "helpers of which no program was compared:" never "\n"
}
