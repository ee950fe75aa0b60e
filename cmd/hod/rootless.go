//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hodbuild/hod/cmd/hod/progress"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/userns"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

// outside are the verbs that neither make nor read files of subordinate ids, and
// those that find out by themselves: they begin outside of the user's namespace.
var outside = []string{
	"attach", "cp", "events", "exec", "export", "history", "images", "info", "inspect", "kill", "login", "logout", "logs", "pause", "port", "rename",
	"stats", "stop", "tag", "tags", "top", "unpause", "wait", "why",
}

// mayEnter says whether this process is an ordinary user's, or that of a root who
// may not mount, and is not inside of the user's namespace yet.
func mayEnter() bool { return (os.Geteuid() != 0 || userns.Powerless()) && !userns.Inside() }

// enterForStore goes on inside of the user's namespace where the store holds
// files that only somebody there can read and delete.
func enterForStore(c *cli.Context) error {
	if slices.Contains(outside, c.Command.Name) {
		return nil
	}
	return enterForOwners(c, nil)
}

// enterForOwners is enterForStore for every verb; given, if not nil, is passed on.
func enterForOwners(c *cli.Context, given *os.File) error {
	root := storeRoot(c)
	if !mayEnter() || !layers.HoldsSubordinate(root) {
		return nil
	}
	m, err := userns.Subordinate(os.Geteuid(), os.Getegid())
	if err != nil {
		return fmt.Errorf("open store %q: it holds files of subordinate ids: %w", root, err)
	}
	return enter(c, m, given)
}

// enter starts hod again inside of a user namespace and ends as that one ends.
func enter(c *cli.Context, m userns.Map, given *os.File) error {
	code, err := userns.Enter(m, given, "HOD_ROOT="+storeRoot(c))
	if err != nil {
		return err
	}
	return &exitError{code: code} // also for 0: the verb is done
}

// enterFor goes on inside of a namespace that a container or a RUN needs. ids
// says that it needs more than one id: where there are none it goes on with one,
// and says what is missing.
func enterFor(c *cli.Context, ids, always bool, what string) error {
	if !mayEnter() {
		return nil
	}
	m := userns.SingleID()
	if ids {
		found, err := userns.Subordinate(os.Geteuid(), os.Getegid())
		if err == nil {
			return enter(c, found, nil)
		}
		if what != "" {
			fmt.Fprintf(c.App.ErrWriter, "hod: %s: %v; going on with one id, which owns them all\n", what, err)
		}
	}
	if always {
		return enter(c, m, nil)
	}
	return nil
}

// enterForContainer goes on inside of a namespace if a new container needs one:
// for files of several users, for a user who is not root, for a private network.
func enterForContainer(c *cli.Context, s *layers.Store, cs *runner.Containers, img *layers.Image, name string, o runner.ContainerOptions) error {
	if !mayEnter() {
		return nil
	}
	config, err := runner.ParseConfig(img.Config)
	if err != nil {
		return err
	}
	ids, err := s.NeedsIDs(c.Context, img.Chain)
	if err != nil {
		return err
	}
	user := o.User
	if user == "" {
		user = config.User
	}
	ids = ids || user != "" && user != "0" && user != "root" && user != "0:0"
	return enterFor(c, ids, o.PrivateNetwork() || cs.MakesMounts(o), "image "+name+" needs the ids of several users")
}

// enterForStart does the same for containers that are there.
func enterForStart(c *cli.Context, cs *runner.Containers) error {
	if !mayEnter() {
		return nil
	}
	for _, name := range c.Args().Slice() {
		found, _, err := cs.Lookup(c.Context, name)
		if err == nil && (found.Options.PrivateNetwork() || cs.MakesMounts(found.Options)) {
			return enterFor(c, false, true, "")
		}
	}
	return nil
}

// enterForFiles goes on inside of a namespace where the files of a container must be mounted to be seen, or belong to
// subordinate ids. The root of one that runs is opened before: nobody in a namespace beside the container's may.
func enterForFiles(c *cli.Context, cs *runner.Containers, name string) error {
	if !mayEnter() {
		return nil
	}
	_, s, err := cs.Lookup(c.Context, name)
	if err != nil {
		return err
	}
	if s.Running() {
		root, err := os.Open(fmt.Sprintf("/proc/%d/root", s.Pid))
		if err != nil {
			return fmt.Errorf("open root of container %s: %w", name, err)
		}
		defer root.Close()
		return enterForOwners(c, root)
	}
	if err := enterForOwners(c, nil); err != nil {
		return err
	}
	return enterFor(c, false, true, "")
}

// enterForBuild goes on inside of a namespace if the build may have a RUN. A
// recipe that is not at hand may have one.
func enterForBuild(c *cli.Context, folder string) error {
	if !mayEnter() {
		return nil
	}
	file := c.String("file")
	if file == "" {
		file = filepath.Join(folder, "Dockerfile")
	}
	recipe, err := readAtHand(file)
	if err == nil && !mentionsRun(recipe) {
		return nil
	}
	if err != nil && c.String("file") == "" {
		if info, serr := os.Stat(folder); serr == nil && info.IsDir() {
			return nil // no recipe: the build says so
		}
	}
	var refused *userns.RefusedError
	if err := enterFor(c, true, true, ""); !errors.As(err, &refused) {
		return err
	}
	return nil // a build that runs nothing needs none
}

// enterForTriggers goes on inside of a namespace where a RUN was found that the
// recipe itself does not mention: it is an ONBUILD of the base.
func enterForTriggers(c *cli.Context, v *progress.View) func(bool) error {
	return func(runs bool) error {
		if !runs || !mayEnter() {
			return nil
		}
		v.Close()
		var refused *userns.RefusedError
		if err := enterFor(c, true, true, ""); !errors.As(err, &refused) {
			return err
		}
		return nil
	}
}

// readAtHand reads a recipe that can be read again, as far as recipes may be long. A pipe or a device is left to the build.
func readAtHand(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrInvalid
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, longestRecipe))
}

// longestRecipe is what is looked at of a recipe; the build refuses one that is as long.
const longestRecipe = 16 << 20

// mentionsRun says whether a recipe may have a RUN. It errs on one side only: a
// word too many costs a few milliseconds.
func mentionsRun(recipe []byte) bool {
	for line := range strings.Lines(string(recipe)) {
		f := strings.Fields(line)
		if len(f) > 0 && strings.EqualFold(f[0], "RUN") {
			return true
		}
	}
	return false
}
