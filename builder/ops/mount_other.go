//go:build !linux

package ops

import (
	"context"
	"errors"

	"github.com/hodbuild/hod/runner"
)

// mounter makes the mounts of one RUN: none on this system, where no RUN is performed.
type mounter struct {
	t      Tools
	o      Options
	ids    *runner.IDs
	mounts []runner.Mount
	env    []string
	renew  func(id string) bool
}

func (m *mounter) close() {}

func (m *mounter) add(context.Context, Mount) error { return errors.ErrUnsupported }

func (m *mounter) script(string, string) error { return errors.ErrUnsupported }
