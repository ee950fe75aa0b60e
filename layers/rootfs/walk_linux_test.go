package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// The walk leads where openat2 leads, and fails as it fails, over random trees of folders, files and links.
func TestWalkEqualsTheKernel(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	part := rapid.SampledFrom([]string{"a", "b", "c", "d", "..", ".", ""})
	somePath := func(t *rapid.T, label string) string {
		p := strings.Join(rapid.SliceOfN(part, 1, 6).Draw(t, label), "/")
		if rapid.Bool().Draw(t, label+" absolute") {
			p = "/" + p
		}
		if p == "" {
			p = "."
		}
		return p
	}
	rapid.Check(t, func(rt *rapid.T) {
		root := filepath.Join(t.TempDir(), "root")
		if err := os.Mkdir(root, 0o755); err != nil {
			t.Fatal(err)
		}
		folders := []string{root}
		for i := range rapid.IntRange(1, 12).Draw(rt, "entries") {
			dir := rapid.SampledFrom(folders).Draw(rt, fmt.Sprint("folder ", i))
			name := filepath.Join(dir, rapid.SampledFrom(names).Draw(rt, fmt.Sprint("name ", i)))
			switch rapid.SampledFrom([]string{"dir", "file", "link", "link"}).Draw(rt, fmt.Sprint("kind ", i)) {
			case "dir":
				if os.Mkdir(name, 0o755) == nil {
					folders = append(folders, name)
				}
			case "file":
				if f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL, 0o644); err == nil {
					f.Close()
				}
			case "link":
				os.Symlink(somePath(rt, fmt.Sprint("target ", i)), name)
			}
		}
		r, err := OpenRoot(root)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for i := range 5 {
			path := somePath(rt, fmt.Sprint("path ", i))
			for _, flags := range []int{unix.O_PATH, unix.O_PATH | unix.O_NOFOLLOW, unix.O_PATH | unix.O_DIRECTORY} {
				want, wantErr := r.open(path, flags, 0)
				got, gotErr := openWalk(int(r.dir.Fd()), path, flags, 0)
				compareOpened(rt, fmt.Sprintf("%q with %#x", path, flags), want, got, wantErr, gotErr)
			}
			plain := filepath.Clean("./" + path)
			if strings.HasPrefix(plain, "..") || strings.HasPrefix(plain, "/") {
				continue
			}
			want, wantErr := OpenBeneath(int(r.dir.Fd()), plain, unix.O_PATH)
			got, gotErr := stepBeneath(int(r.dir.Fd()), plain, unix.O_PATH)
			if wantErr == unix.ELOOP && gotErr == nil { // O_PATH and O_NOFOLLOW give the link itself, which is no way out
				unix.Close(got)
				continue
			}
			compareOpened(rt, fmt.Sprintf("%q beneath", plain), want, got, wantErr, gotErr)
		}
	})
}

func compareOpened(t *rapid.T, what string, want, got int, wantErr, gotErr error) {
	defer unix.Close(want)
	defer unix.Close(got)
	if (wantErr == nil) != (gotErr == nil) {
		t.Fatalf("%s: the kernel says %v, the walk %v", what, wantErr, gotErr)
	}
	if wantErr != nil {
		if !errors.Is(wantErr, gotErr) {
			t.Fatalf("%s: the kernel says %v, the walk %v", what, wantErr, gotErr)
		}
		return
	}
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(want, &a), unix.Fstat(got, &b)); err != nil {
		t.Fatal(err)
	}
	if a.Dev != b.Dev || a.Ino != b.Ino {
		t.Fatalf("%s: the kernel found inode %d, the walk %d", what, a.Ino, b.Ino)
	}
}
