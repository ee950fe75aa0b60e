package main

import (
	"fmt"
	"strings"

	"github.com/hodbuild/hod/layers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"
)

// lookAtStore is withStore for verbs that look and are soon done: they work on a full disk.
func lookAtStore(c *cli.Context, fn func(*layers.Store) error) error {
	return withOptions(c, layers.Options{Look: true}, fn)
}

// storeRoot is the store that --root or HOD_ROOT names, else the user's.
func storeRoot(c *cli.Context) string {
	if root := c.String("root"); root != "" {
		return root
	}
	return layers.DefaultRoot()
}

// withStore calls fn with the store and closes it behind fn.
func withStore(c *cli.Context, fn func(*layers.Store) error) error {
	return withOptions(c, layers.Options{}, fn)
}

func withOptions(c *cli.Context, o layers.Options, fn func(*layers.Store) error) (err error) {
	if err := enterForStore(c); err != nil {
		return err
	}
	s, err := layers.Open(storeRoot(c), o)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.Close(); err == nil {
			err = cerr
		}
	}()
	return fn(s)
}

// arguments checks how many words a verb got; most < 0 is any number.
func arguments(c *cli.Context, least, most int) error {
	n := c.NArg()
	if n >= least && (most < 0 || n <= most) {
		return nil
	}
	verb := c.Command.Name
	if parent := c.Lineage()[1]; parent.Command != nil && parent.Command.Name != "" && parent.Command.Name != c.App.Name {
		verb = parent.Command.Name + " " + verb
	}
	usage := strings.TrimRight("hod "+verb+" "+c.Command.ArgsUsage, " ")
	if list := examples[verb]; len(list) > 0 {
		usage += ", such as " + list[0].left
	}
	if n < least {
		return withHint(fmt.Errorf("%w: hod %s needs %s, got %d", errUsage, verb, argumentCount(least), n), usage)
	}
	return withHint(fmt.Errorf("%w: hod %s takes %s, got %d: %q is one too many", errUsage, verb, argumentCount(most), n, c.Args().Get(most)),
		usage)
}

func argumentCount(n int) string {
	switch n {
	case 0:
		return "no argument"
	case 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// parsePlatform reads os/architecture[/variant]; empty is nil.
func parsePlatform(s string) (*ocispec.Platform, error) {
	if s == "" {
		return nil, nil
	}
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" || parts[1] == "" {
		return nil, fmt.Errorf("platform %q is not os/architecture[/variant]", s)
	}
	p := ocispec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return &p, nil
}
