package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
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
    COMPREPLY=($(compgen -W "$(hod completion names "$verb" 2>/dev/null)" -- "$cur"))
  fi
}
complete -o default -F _hod hod
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
    compadd -- ${(f)"$(hod completion names ${words[2]} 2>/dev/null)"} || _files
  fi
}
compdef _hod hod
`,
	"fish": `complete -c hod -n __fish_use_subcommand -f -a "%s"
complete -c hod -n "not __fish_use_subcommand; and string match -q -- '-*' (commandline -ct)" -f -a "(hod completion flags (commandline -opc)[2] 2>/dev/null)"
complete -c hod -n "not __fish_use_subcommand" -a "(hod completion names (commandline -opc)[2] 2>/dev/null)"
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
	switch {
	case c.NArg() == 2 && c.Args().First() == "flags":
		return printFlagNames(c, c.Args().Get(1))
	case c.NArg() == 2 && c.Args().First() == "names":
		return printNames(c, c.Args().Get(1))
	}
	if err := arguments(c, 1, 1); err != nil {
		return err
	}
	script, ok := completions[c.Args().First()]
	if !ok {
		return withHint(fmt.Errorf("no completion for %q", c.Args().First()), "there are bash, zsh and fish")
	}
	verbs := slices.DeleteFunc(verbNames(), func(v string) bool { return strings.HasPrefix(v, "__") })
	_, err := fmt.Fprintf(c.App.Writer, script, strings.Join(verbs, " "))
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

// completed are the verbs that take names, of containers and of images.
var completed = map[string]struct{ containers, images bool }{
	"attach": {containers: true}, "commit": {containers: true}, "cp": {containers: true}, "diff": {containers: true}, "exec": {containers: true},
	"kill": {containers: true}, "logs": {containers: true}, "pause": {containers: true}, "port": {containers: true}, "rename": {containers: true},
	"restart": {containers: true}, "rm": {containers: true}, "start": {containers: true}, "stats": {containers: true}, "stop": {containers: true},
	"top": {containers: true}, "unpause": {containers: true}, "update": {containers: true}, "wait": {containers: true},
	"create": {images: true}, "history": {images: true}, "push": {images: true}, "rmi": {images: true}, "run": {images: true}, "save": {images: true},
	"spec": {images: true}, "tag": {images: true}, "why": {images: true}, "copy": {images: true},
	"export": {containers: true, images: true}, "inspect": {containers: true, images: true},
}

// printNames prints what a verb could be about.
func printNames(c *cli.Context, verb string) error {
	if completed[verb].containers {
		err := withContainers(c, func(cs *runner.Containers) error {
			list, err := cs.List(c.Context)
			for _, e := range list {
				fmt.Fprintln(c.App.Writer, e.Name)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	if !completed[verb].images {
		return nil
	}
	return lookAtStore(c, func(s *layers.Store) error {
		list, err := s.References(c.Context)
		for _, one := range list {
			if n, perr := layers.ParseName(one.Name); perr == nil {
				fmt.Fprintln(c.App.Writer, n.Familiar())
			}
		}
		return err
	})
}
