# bash completion for sluice(1). Verbs and options come from the command's own help.

_sluice_verbs() {
	sluice help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\).*/\1/p'
}

_sluice() {
	local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]:-} i
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		mapfile -t COMPREPLY < <(compgen -W "$(_sluice_verbs) --help --version" -- "$cur")
		return
	fi
	# What follows "--" is a command of its own.
	for ((i = 2; i < COMP_CWORD; i++)); do
		if [ "${COMP_WORDS[i]}" = -- ] && declare -F _command_offset >/dev/null; then
			_command_offset $((i + 1))
			return
		fi
	done
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$(sluice "$verb" --help 2>/dev/null |
			grep -oE -- '--[a-z][a-z-]*' | sort -u)" -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}

complete -F _sluice sluice
