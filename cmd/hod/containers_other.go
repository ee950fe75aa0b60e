//go:build !linux

package main

import (
	"context"
	"errors"
	"os"

	"github.com/hodbuild/hod/cmd/hod/progress"
	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/runner"
	"github.com/urfave/cli/v2"
)

// containerVerbs: containers run on Linux only. Here hod builds what needs no RUN, and carries and serves images.
func containerVerbs() []verb { return nil }

func machineVerbs() []verb { return nil }

func inspectContainer(context.Context, *layers.Store, string, bool) (any, error) {
	return nil, runner.ErrNoContainer
}

func inspectVolume(*layers.Store, string) (any, error) {
	return nil, errors.New("volumes are Linux containers' only")
}

func exportContainer(*cli.Context, *layers.Store, *runner.Containers, string) error {
	return runner.ErrNoContainer
}

// enterForStore and the others have no namespace to enter here.
func enterForStore(*cli.Context) error { return nil }

func enterForOwners(*cli.Context, *os.File) error { return nil }

func enterForBuild(*cli.Context, string) error { return nil }

func countUsers(context.Context, *layers.Store, *layers.Usage) ([]runner.Entry, error) {
	return nil, nil
}

func dfContainers(*cli.Context, []runner.Entry, layers.Usage) error { return nil }

func pruneContainers(*cli.Context, *layers.Store) error { return nil }

func pruneVolumes(*cli.Context, *layers.Store) error { return nil }

func enterForTriggers(*cli.Context, *progress.View) func(bool) error { return nil }

func boundMemory(string) {}
