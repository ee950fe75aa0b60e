//go:build linux

package ops

import (
	"archive/tar"
	"context"
	"errors"
	"io"

	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// extractTo writes what a copy makes into a folder of this machine.
func extractTo(ctx context.Context, c Copy, dir string, o Options) error {
	l, err := c.Plan(ctx, FromView(emptyView()), o)
	if err != nil {
		return err
	}
	defer l.Close()
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		err := l.Write(ctx, TarWriter{Tar: tw})
		w.CloseWithError(errors.Join(err, tw.Close()))
	}()
	_, err = diff.ApplyPath(ctx, r, dir, diff.ApplyOptions{SingleID: userns.Here() == userns.Single})
	r.CloseWithError(unix.EPIPE)
	return err
}

func emptyView() *diff.View {
	v, err := diff.NewView(nil, nil)
	if err != nil {
		panic("an empty view cannot fail: " + err.Error())
	}
	return v
}
