# The manual page of a verb, from what its --help prints: awk -v verb=map -v summary=... -f page.awk.
# The first paragraph is the synopsis; paragraphs "Options:", "Examples:", "Exit status: ..." become
# sections. Lines stay as they are.
function escape(line)
{
	gsub(/\\/, "\\e", line)
	gsub(/-/, "\\-", line)
	sub(/^[.']/, "\\\\\\&&", line)
	return line
}

function section(name)
{
	printf(".fi\n.SH %s\n.nf\n", name)
}

BEGIN {
	printf(".TH SLUICE\\-%s 1 \"\" Sluice \"User Commands\"\n", toupper(verb))
	printf(".SH NAME\nsluice\\-%s \\- %s\n.SH SYNOPSIS\n.nf\n", verb, escape(summary))
	synopsis = 1
}

synopsis && sub(/^(Usage: |       )/, "") {
	print escape($0)
	next
}

synopsis && /^$/ {
	synopsis = 0
	section("DESCRIPTION")
	next
}

/^[A-Z][a-z ]*:$/ {
	sub(/:$/, "")
	section(toupper($0))
	next
}

/^Exit status: / {
	sub(/^Exit status: /, "")
	section("EXIT STATUS")
}

{
	print escape($0)
}

END {
	printf(".fi\n.SH SEE ALSO\n.BR sluice (1),\n.BR sluiced (8)\n")
}
