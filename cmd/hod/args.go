package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// line is a command line brought into the one order that urfave/cli takes:
// every flag as --name=value before "--", every argument behind it.
type line struct {
	args []string
	verb string       // first word that names a verb, for exit codes
	cmd  *cli.Command // innermost command, nil for hod itself
	path []string     // words that led to cmd
	help bool
	bare bool // nothing was typed but hod
}

// foreign lists the verbs whose arguments from the nth on belong to a program
// in a container, whatever they look like.
var foreign = map[string]int{"run": 1, "spec": 1, "create": 1, "exec": 1, "top": 1}

// parser walks the words once.
type parser struct {
	rest    []string
	globals map[string]cli.Flag
	flags   map[string]cli.Flag
	out     line
	global  []string // flags of hod
	own     []string // flags of the command
	words   []string // arguments
}

// parseLine brings args into order from the flag tables of app and of the verb
// that they name, which it adds to app.
func parseLine(app *cli.App, args []string) (line, error) {
	p := &parser{rest: args, globals: flagTable(app.Flags)}
	if err := p.verbs(app); err != nil {
		return p.out, err
	}
	if p.out.cmd == nil || len(p.out.cmd.Subcommands) > 0 {
		p.out.bare = p.out.cmd == nil && !p.out.help && len(p.words) == 0
		p.out.help = true
		return p.out, nil
	}
	limit, limited := foreign[p.out.verb]
	for len(p.rest) > 0 {
		if limited && len(p.words) >= limit {
			p.words = append(p.words, p.rest...)
			break
		}
		if done, err := p.word(); err != nil || p.out.help {
			return p.out, err
		} else if done {
			break
		}
	}
	p.out.args = append([]string{app.Name}, p.global...)
	p.out.args = append(p.out.args, p.out.path...)
	p.out.args = append(append(append(p.out.args, p.own...), "--"), p.words...)
	return p.out, nil
}

// verbs takes global flags and the words that name a command.
func (p *parser) verbs(app *cli.App) error {
	p.flags = map[string]cli.Flag{}
	for len(p.rest) > 0 {
		w := p.rest[0]
		switch {
		case w == "help" && len(p.out.path) == 0:
			p.rest, p.out.help = p.rest[1:], true
			continue
		case w == "--version" && len(p.out.path) == 0:
			w = "version"
		case strings.HasPrefix(w, "-") && w != "-":
			if done, err := p.word(); err != nil || done || p.out.help {
				return err
			}
			continue
		}
		if p.out.cmd == nil {
			p.rest = ungroup(p.rest)
			w = p.rest[0]
		}
		c := p.named(app, w)
		if c == nil {
			return p.unknownVerb(w)
		}
		p.rest = p.rest[1:]
		p.enter(c)
		if len(c.Subcommands) == 0 {
			return nil
		}
	}
	return nil
}

// named finds the command that w names here, nil if there is none.
func (p *parser) named(app *cli.App, w string) *cli.Command {
	if p.out.cmd != nil {
		return find(p.out.cmd.Subcommands, w)
	}
	c := find(app.Commands, w)
	if c == nil {
		if c = makeVerb(w); c != nil {
			app.Commands = append(app.Commands, c)
		}
	}
	return c
}

func (p *parser) enter(c *cli.Command) {
	if p.out.verb == "" {
		p.out.verb = c.Name
	}
	c.Flags = withNames(c.Flags)
	p.out.cmd, p.out.path = c, append(p.out.path, c.Name)
	p.flags = flagTable(c.Flags)
}

func (p *parser) unknownVerb(w string) error {
	names := verbNames()
	if p.out.cmd != nil {
		names = nil
		for _, c := range p.out.cmd.Subcommands {
			names = append(names, c.Name)
		}
	}
	what := strings.Join(append([]string{"hod"}, p.out.path...), " ")
	hint := "hod help lists every verb"
	if h := elsewhere[w]; h != "" && p.out.cmd == nil {
		hint = h
	} else if n := nearest(w, names); n != "" {
		hint = fmt.Sprintf("did you mean %s %s?", what, n)
	}
	return &hintError{err: fmt.Errorf("%w: %q is not a verb of %s", errUsage, w, what), hint: hint}
}

// word takes the next word, and the one behind it if it is a flag's value. It
// reports true at "--", behind which there are only arguments.
func (p *parser) word() (bool, error) {
	w := p.rest[0]
	p.rest = p.rest[1:]
	switch {
	case w == "--":
		p.words, p.rest = append(p.words, p.rest...), nil
		return true, nil
	case strings.HasPrefix(w, "--"):
		return false, p.long(w[2:])
	case strings.HasPrefix(w, "-") && w != "-":
		return false, p.short(w[1:])
	}
	p.words = append(p.words, w)
	return false, nil
}

func (p *parser) long(w string) error {
	name, value, has := strings.Cut(w, "=")
	f, global := p.lookup(name)
	switch {
	case f == nil && name == "help":
		p.out.help = true
		return nil
	case f == nil || len(name) == 1:
		return p.unknownFlag("--" + name)
	case !takesValue(f):
		if !has {
			value = "true"
		}
		return p.set(f, global, "--"+name, value)
	}
	return p.take(f, global, "--"+name, value, has)
}

// short takes letters that stand together: flags without a value, then perhaps
// one with its value attached (-p80:80, -itv/a:/b, -e=X=y) or behind it.
func (p *parser) short(w string) error {
	for i, r := range w {
		f, global := p.lookup(string(r))
		rest := w[i+len(string(r)):]
		switch {
		case f == nil && r == 'h':
			p.out.help = true
			return nil
		case f == nil:
			return p.unknownFlag("-" + w)
		case takesValue(f):
			return p.take(f, global, "-"+string(r), strings.TrimPrefix(rest, "="), rest != "")
		case strings.HasPrefix(rest, "="):
			return p.set(f, global, "-"+string(r), rest[1:])
		}
		p.set(f, global, "-"+string(r), "true")
	}
	return nil
}

// take sets f to its value, which is the next word if none was attached.
func (p *parser) take(f cli.Flag, global bool, as, value string, has bool) error {
	if !has {
		if len(p.rest) == 0 {
			return &hintError{err: fmt.Errorf("%w: flag %s needs a value", errUsage, as), hint: p.helpHint()}
		}
		value, p.rest = p.rest[0], p.rest[1:]
	}
	return p.set(f, global, as, value)
}

func (p *parser) set(f cli.Flag, global bool, as, value string) error {
	if what := misfit(f, value); what != "" {
		return &hintError{err: fmt.Errorf("%w: %s takes %s, not %q", errUsage, as, what, value), hint: p.helpHint()}
	}
	arg := "--" + f.Names()[0] + "=" + value
	if global {
		p.global = append(p.global, arg)
		return nil
	}
	p.own = append(p.own, arg)
	return nil
}

// misfit says what a flag takes where a value is not that.
func misfit(f cli.Flag, value string) string {
	d, _ := documented(f)
	var err error
	what := ""
	switch d.(type) {
	case *cli.BoolFlag:
		_, err = strconv.ParseBool(value)
		what = "true or false"
	case *cli.IntFlag, *cli.Int64Flag:
		_, err = strconv.ParseInt(value, 0, 64)
		what = "a whole number"
	case *cli.Float64Flag:
		_, err = strconv.ParseFloat(value, 64)
		what = "a number"
	case *cli.DurationFlag:
		_, err = time.ParseDuration(value)
		what = "a time such as 90s, 10m or 24h"
	}
	if err == nil {
		return ""
	}
	return what
}

// lookup finds a flag of the command, else of hod.
func (p *parser) lookup(name string) (f cli.Flag, global bool) {
	if f := p.flags[name]; f != nil {
		return f, false
	}
	return p.globals[name], true
}

func (p *parser) unknownFlag(as string) error {
	var names []string
	for _, table := range []map[string]cli.Flag{p.flags, p.globals} {
		for n := range table {
			if len(n) > 1 {
				names = append(names, n)
			}
		}
	}
	hint := p.helpHint()
	if n := nearest(strings.TrimLeft(as, "-"), names); n != "" && strings.HasPrefix(as, "--") {
		hint = fmt.Sprintf("did you mean --%s?", n)
	}
	what := strings.Join(append([]string{"hod"}, p.out.path...), " ")
	return &hintError{err: fmt.Errorf("%w: %q is not a flag of %s", errUsage, as, what), hint: hint}
}

func (p *parser) helpHint() string {
	return strings.Join(append([]string{"hod help"}, p.out.path...), " ") + " lists the flags"
}

func flagTable(flags []cli.Flag) map[string]cli.Flag {
	table := map[string]cli.Flag{}
	for _, f := range flags {
		for _, n := range f.Names() {
			table[n] = f
		}
	}
	return table
}

func takesValue(f cli.Flag) bool {
	d, ok := documented(f)
	return !ok || d.TakesValue()
}

// namedFlag is a flag that remembers its names. urfave/cli asks each flag of a verb
// for them once for every other flag, and runs a regular expression each time.
type namedFlag struct {
	cli.Flag
	names []string
}

func (n namedFlag) Names() []string { return n.names }

// namedList is the same of a flag that may be given often: urfave/cli reaches
// for a method of it that has no name outside, to turn its separator off.
type namedList struct {
	*cli.StringSliceFlag
	names []string
}

func (n namedList) Names() []string { return n.names }

func withNames(flags []cli.Flag) []cli.Flag {
	all := make([]cli.Flag, len(flags))
	for i, f := range flags {
		if list, ok := f.(*cli.StringSliceFlag); ok {
			all[i] = namedList{list, flagWords(f)}
			continue
		}
		all[i] = namedFlag{f, flagWords(f)}
	}
	return all
}

// flagWords are a flag's names without urfave/cli's regular expressions.
func flagWords(f cli.Flag) []string {
	switch f := f.(type) {
	case *cli.StringFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.BoolFlag:
		return append([]string{f.Name}, f.Aliases...)
	case *cli.StringSliceFlag:
		return append([]string{f.Name}, f.Aliases...)
	}
	return f.Names()
}

// documented is what a flag says of itself.
func documented(f cli.Flag) (cli.DocGenerationFlag, bool) {
	if n, ok := f.(namedFlag); ok {
		f = n.Flag
	}
	d, ok := f.(cli.DocGenerationFlag)
	return d, ok
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// nearest is the name that is at most two edits (and less than half) away.
func nearest(w string, names []string) string {
	best, at := "", min(3, (len(w)+1)/2+1)
	for _, n := range names {
		if d := distance(w, n); d < at || d == at && best != "" && n < best {
			best, at = n, d
		}
	}
	return best
}

// distance counts the single-letter edits between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
