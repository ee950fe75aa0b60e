package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
)

// writeFiles writes the files of the result, in a folder for each platform where there are several.
func (b *build) writeFiles(ctx context.Context, out Output) error {
	if len(b.plan.Targets) > 1 && out.Type == "tar" {
		return errors.New("a tar holds the files of one platform: use type=local or type=oci")
	}
	for _, t := range b.plan.Targets {
		files, err := b.files(ctx, t.Step)
		if err != nil {
			return err
		}
		dest := out.Dest
		if len(b.plan.Targets) > 1 {
			dest = filepath.Join(dest, strings.ReplaceAll(plan.FormatPlatform(t.Platform), "/", "_"))
		}
		switch {
		case out.Type == "local":
			err = writeFolder(ctx, files, dest)
		case dest == "-":
			err = writeTar(ctx, files, out.Stdout)
		default:
			err = replaceFile(dest, func(w io.Writer) error { return writeTar(ctx, files, w) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replaceFile writes a file aside and renames it into place when it is whole.
func replaceFile(name string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".hod-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// walk calls visit for each entry, a folder before what is in it.
func walk(ctx context.Context, files source.Files, dir string, visit func(source.Entry) error) error {
	list, err := files.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := visit(e); err != nil {
			return fmt.Errorf("write %q: %w", "/"+e.Path, err)
		}
		if !e.IsDir() {
			continue
		}
		if err := walk(ctx, files, e.Path, visit); err != nil {
			return err
		}
	}
	return nil
}

// writeTar writes all files as one tar.
func writeTar(ctx context.Context, files source.Files, w io.Writer) error {
	tw := tar.NewWriter(w)
	out := ops.TarWriter{Tar: tw}
	first := map[string]string{} // of the names of a file with several
	err := walk(ctx, files, "", func(e source.Entry) error {
		if !e.IsRegular() {
			return out.WriteEntry(e, "", nil)
		}
		if name, ok := first[e.Inode]; ok && e.Inode != "" {
			return out.WriteEntry(e, name, nil)
		}
		first[e.Inode] = e.Path
		r, err := files.Open(e.Path)
		if err != nil {
			return err
		}
		defer r.Close()
		return out.WriteEntry(e, "", r)
	})
	if err != nil {
		return err
	}
	return tw.Close()
}

// writeFolder writes all files below a folder. Links that are there already are never followed out of it. Owners are not
// kept: the files belong to who runs the build.
func writeFolder(ctx context.Context, files source.Files, dest string) error {
	if err := os.MkdirAll(dest, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dest)
	if err != nil {
		return err
	}
	defer root.Close()
	type folder struct {
		name string
		mode fs.FileMode
		time time.Time
	}
	var folders []folder
	err = walk(ctx, files, "", func(e source.Entry) error {
		mode := fs.FileMode(e.Mode & 0o777)
		for bit, special := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
			if e.Mode&bit != 0 {
				mode |= special
			}
		}
		switch e.Type {
		case tar.TypeDir:
			folders = append(folders, folder{e.Path, mode, e.ModTime})
			if old, err := root.Lstat(e.Path); err == nil && old.IsDir() {
				return root.Chmod(e.Path, 0o700)
			}
			return root.Mkdir(e.Path, 0o700)
		case tar.TypeSymlink:
			if err := root.Remove(e.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return root.Symlink(e.Linkname, e.Path)
		case tar.TypeReg:
			return writeFile(root, files, e, mode)
		}
		return errors.New("devices and pipes cannot be written to a folder: use type=tar")
	})
	if err != nil {
		return err
	}
	for i := len(folders) - 1; i >= 0; i-- { // what is in a folder changes its time
		f := folders[i]
		if err := errors.Join(root.Chmod(f.name, f.mode), root.Chtimes(f.name, f.time, f.time)); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(root *os.Root, files source.Files, e source.Entry, mode fs.FileMode) error {
	if err := root.Remove(e.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(e.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := files.Open(e.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(mode), f.Close()); err != nil {
		return err
	}
	return root.Chtimes(e.Path, e.ModTime, e.ModTime)
}
