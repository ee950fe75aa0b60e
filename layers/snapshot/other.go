//go:build !linux

package snapshot

import (
	"context"
	"errors"
	"runtime"

	"github.com/hodbuild/hod/layers/rootfs"
	"github.com/hodbuild/hod/layers/userns"
)

// MaxLowers is how many trees the kernel stacks.
const MaxLowers = 500

// Options says what an overlay is made of.
type Options struct {
	Lower       []string
	Upper, Work string
	UIDs, GIDs  []userns.Range
	Volatile    bool
}

var errLinux = errors.New("layers are mounted on Linux only: this is " + runtime.GOOS)

// Overlay makes no mount here: trees are stacked on Linux only.
func Overlay(Options) (rootfs.Mount, error) { return rootfs.Mount{}, errLinux }

// ShowsOwners says whether a folder can be seen with other owners: not on this system.
func ShowsOwners(string, Options) error { return nil }

// Refused says whether there can be no overlay: a copy would be no way out here.
func Refused(error) bool { return false }

// Unfit says whether a folder can hold no overlay.
func Unfit(string) bool { return false }

// Copy stacks no trees here.
func Copy(context.Context, []string, string) error { return errLinux }

// Folder makes no mount here.
func Folder(string, Options) (rootfs.Mount, error) { return rootfs.Mount{}, errLinux }
