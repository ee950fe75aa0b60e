package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// completions are the scripts of each shell; %s is the list of verbs.
var completions = map[string]string{
	"bash": `_hod() {
  local cur=${COMP_WORDS[COMP_CWORD]} verb= w
  for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $w in -*) ;; *) verb=$w; break ;; esac
  done
  if [ -z "$verb" ]; then
    COMPREPLY=($(compgen -W "%s" -- "$cur"))
  elif [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W "$(hod completion flags "$verb" 2>/dev/null)" -- "$cur"))
  else
    COMPREPLY=($(compgen -f -W "$(hod images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null)" -- "$cur"))
  fi
}
complete -o filenames -F _hod hod
`,
	"zsh": `#compdef hod
_hod() {
  local -a verbs
  verbs=(%s)
  if (( CURRENT == 2 )); then
    compadd -a verbs
  elif [[ $PREFIX == -* ]]; then
    compadd -- ${(f)"$(hod completion flags ${words[2]} 2>/dev/null)"}
  else
    compadd -- ${(f)"$(hod images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null)"}
    _files
  fi
}
compdef _hod hod
`,
	"fish": `complete -c hod -n __fish_use_subcommand -f -a "%s"
complete -c hod -n "not __fish_use_subcommand; and string match -q -- '-*' (commandline -ct)" -f -a "(hod completion flags (commandline -opc)[2] 2>/dev/null)"
complete -c hod -n "not __fish_use_subcommand" -a "(hod images --format '{{.Repository}}:{{.Tag}}' 2>/dev/null)"
`,
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:        "completion",
		Usage:       "Print a completion script for bash, zsh or fish",
		ArgsUsage:   "bash|zsh|fish",
		Description: "Put it to use with: source <(hod completion bash)",
		Action:      complete,
	}
}

func complete(c *cli.Context) error {
	if c.NArg() == 2 && c.Args().First() == "flags" {
		return printFlagNames(c, c.Args().Get(1))
	}
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	script, ok := completions[c.Args().First()]
	if !ok {
		return withHint(fmt.Errorf("no completion for %q", c.Args().First()), "there are bash, zsh and fish")
	}
	_, err := fmt.Fprintf(c.App.Writer, script, strings.Join(verbNames(), " "))
	return err
}

// printFlagNames is what the scripts ask for while somebody types.
func printFlagNames(c *cli.Context, verb string) error {
	cmd := makeVerb(verb)
	if cmd == nil {
		return nil
	}
	for _, f := range cmd.Flags {
		for _, n := range f.Names() {
			if len(n) > 1 {
				fmt.Fprintln(c.App.Writer, "--"+n)
			}
		}
	}
	return nil
}
