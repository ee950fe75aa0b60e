// Conformance measures hod against what it says it is: recipes mean what BuildKit makes of them, the registry is what
// the distribution specification asks for, and what hod writes is read by others. Each part is a score; what this
// machine lacks for a part is named and the part left out.
//
//	go run ./cmd/conformance [-only REGEXP] [-v] [PART…]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
)

// options are what all parts are told.
type options struct {
	hod     string // the binary
	repo    string
	work    string // a folder that is removed at the end
	only    *regexp.Regexp
	verbose bool
	fill    bool // write BuildKit's answers into cases that ask for them
}

// score is the outcome of one part.
type score struct {
	name       string
	passed, of int
	note       string
	missing    string // why the part was left out
}

func (s score) left(why error) score {
	s.missing = why.Error()
	return s
}

// parts in the order in which they run.
var parts = []struct {
	name string
	run  func(context.Context, options) score
}{
	{"recorded", runRecorded},
	{"differential", runDifferential},
	{"distribution", runDistribution},
	{"schema", runSchema},
	{"readers", runReaders},
}

func main() {
	only := flag.String("only", "", "only cases whose name matches")
	verbose := flag.Bool("v", false, "print the messages of both")
	fill := flag.Bool("fill", false, "write BuildKit's answer where a case has a question mark")
	keep := flag.String("work", "", "work in this folder and leave it")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, options{verbose: *verbose, fill: *fill, work: *keep}, *only, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, only string, names []string) (err error) {
	if o.only, err = regexp.Compile(only); err != nil {
		return err
	}
	if o.repo, err = os.Getwd(); err != nil {
		return err
	}
	if o.work == "" {
		if o.work, err = os.MkdirTemp("", "hod-conformance-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.work)
	}
	if err := os.MkdirAll(o.work, 0o755); err != nil {
		return err
	}
	o.hod = filepath.Join(o.work, "hod")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-o", o.hod, "./cmd/hod")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build hod: %w: %s", err, out)
	}
	var scores []score
	for _, p := range parts {
		if len(names) == 0 || slices.Contains(names, p.name) {
			scores = append(scores, p.run(ctx, o))
		}
	}
	return table(scores)
}

// table prints the scores; a part that failed somewhere is an error.
func table(scores []score) error {
	bad := 0
	for _, s := range scores {
		switch {
		case s.missing != "":
			fmt.Printf("%-50s left out: %s\n", s.name, s.missing)
		default:
			fmt.Printf("%-50s %d of %d  %s\n", s.name, s.passed, s.of, s.note)
		}
		if s.missing == "" && s.passed < s.of {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d parts are not whole", bad, len(scores))
	}
	return nil
}
