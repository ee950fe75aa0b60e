package ops

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/layers/diff"
	"github.com/hodbuild/hod/layers/userns"
	"golang.org/x/sys/unix"
)

// freshMark lies beside a tree whose files were freshened.
const freshMark = ".fresh"

// freshen gives the files of layers that COPY and ADD made the time at which their tree came to this store, in the tree
// and not in the layer. Programs like make compare times: a source that is new here must be newer than what an earlier
// step, or a cache mount, made of the one before, and in the layer all have one time. Each tree is done once.
func freshen(ctx context.Context, s *layers.Store, chain layers.Chain, trees []string) error {
	for i, d := range chain {
		info, err := s.Layer(d)
		if err != nil {
			return err
		}
		if info.Packed == "" || !info.HasTar {
			continue
		}
		if err := freshenTree(ctx, trees[len(chain)-1-i]); err != nil {
			return err
		}
	}
	return nil
}

func freshenTree(ctx context.Context, tree string) error {
	mark := filepath.Join(filepath.Dir(tree), freshMark)
	if _, err := os.Lstat(mark); err == nil {
		return nil
	}
	now := time.Now()
	err := filepath.WalkDir(tree, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil || !e.Type().IsRegular() {
			return err
		}
		st, err := e.Info()
		if err != nil || st.ModTime().After(diff.Epoch.Add(time.Second)) {
			return err
		}
		return os.Chtimes(p, now, now)
	})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(mark, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

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
