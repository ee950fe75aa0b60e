package builder

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/hodbuild/hod/builder/ops"
	"github.com/hodbuild/hod/builder/plan"
	"github.com/hodbuild/hod/builder/source"
	"github.com/hodbuild/hod/layers/lockfile"
)

// writeFiles writes the files of the result, in a folder for each platform where there are several.
func (b *build) writeFiles(ctx context.Context, out Output) error {
	if out.Type == "tar" {
		return b.writeTars(ctx, out)
	}
	places := newPlaces(b, out)
	for _, t := range b.plan.Targets {
		files, folder, err := places.of(ctx, t)
		if err != nil {
			return err
		}
		if err := writeFolder(ctx, files, filepath.Join(out.Dest, folder)); err != nil {
			return err
		}
	}
	return nil
}

// places says where the files of each platform go: in a folder of the platform's name where there are several, or as the
// output says.
type places struct {
	b     *build
	split bool
	seen  map[string]string // of files that lie beside those of other platforms
}

func newPlaces(b *build, out Output) *places {
	p := &places{b: b, split: len(b.plan.Targets) > 1 || b.o.Index, seen: map[string]string{}}
	if out.Split != nil {
		p.split = *out.Split
	}
	return p
}

// of gives a target's files and the folder that they go to.
func (p *places) of(ctx context.Context, t plan.Target) (source.Files, string, error) {
	files, err := p.b.told(ctx, t, !p.split && len(p.b.plan.Targets) > 1)
	if err != nil || p.split {
		return files, platformFolder(t), err
	}
	if len(p.b.plan.Targets) == 1 {
		return files, "", nil
	}
	return files, "", walk(ctx, files, "", func(e source.Entry) error {
		if e.IsDir() {
			return nil
		}
		if other, ok := p.seen[e.Path]; ok {
			return fmt.Errorf("%s and %s both have it: leave out platform-split=false", other, platformFolder(t))
		}
		p.seen[e.Path] = platformFolder(t)
		return nil
	})
}

// platformFolder is the folder of a platform's files where there are several platforms.
func platformFolder(t plan.Target) string {
	return strings.ReplaceAll(plan.FormatFull(t.Platform), "/", "_")
}

// writeTars writes the files of the result as one tar, in a folder for each platform where there are several.
func (b *build) writeTars(ctx context.Context, out Output) error {
	write := func(w io.Writer) error {
		tw := tar.NewWriter(w)
		places := newPlaces(b, out)
		for _, t := range b.plan.Targets {
			files, prefix, err := places.of(ctx, t)
			if err != nil {
				return err
			}
			if err := writeTar(ctx, files, tw, prefix, b.created()); err != nil {
				return err
			}
		}
		return tw.Close()
	}
	if out.Dest == "-" {
		return write(out.Stdout)
	}
	return lockfile.Replace(out.Dest, write)
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

// writeTar writes all files into a tar, below prefix.
func writeTar(ctx context.Context, files source.Files, tw *tar.Writer, prefix string, made time.Time) error {
	out := ops.TarWriter{Tar: tw}
	first := map[string]string{} // of the names of a file with several
	if prefix != "" {
		if err := out.WriteEntry(source.Entry{Path: prefix, Type: tar.TypeDir, Mode: 0o755, ModTime: made}, "", nil); err != nil {
			return err
		}
	}
	return walk(ctx, files, "", func(e source.Entry) error {
		from := e.Path
		e.Path = path.Join(prefix, e.Path)
		if !e.IsRegular() {
			return out.WriteEntry(e, "", nil)
		}
		if name, ok := first[e.Inode]; ok && e.Inode != "" {
			return out.WriteEntry(e, name, nil)
		}
		first[e.Inode] = e.Path
		r, err := files.Open(from)
		if err != nil {
			return err
		}
		defer r.Close()
		return out.WriteEntry(e, "", r)
	})
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
			if err := makeWay(root, e.Path); err != nil {
				return err
			}
			return root.Mkdir(e.Path, 0o700)
		case tar.TypeSymlink:
			if err := makeWay(root, e.Path); err != nil {
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

// makeWay removes what lies where something of another kind goes: a file, a link or an empty folder. Nobody's files are
// removed with their folder.
func makeWay(root *os.Root, name string) error {
	err := root.Remove(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, syscall.EEXIST):
		return errors.New("a folder with files is there: remove it, or choose another destination")
	}
	return err
}

func writeFile(root *os.Root, files source.Files, e source.Entry, mode fs.FileMode) error {
	if err := makeWay(root, e.Path); err != nil {
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
