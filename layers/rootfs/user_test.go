package rootfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func root(t *testing.T) (*Root, string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/etc", 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, dir
}

func lookupIn(r *Root, spec string) (User, error) {
	return LookupUserIn(func(path string) ([]byte, error) { return r.ReadFileLimited(path, maxUserFile) }, spec)
}

func TestLookupUserIsExact(t *testing.T) {
	r, dir := root(t)
	os.WriteFile(dir+"/etc/passwd", []byte("root:x:0:0:r:/root:/bin/sh\n4294967296:x:0:0::/:\n7:x:0:0::/:\nweb:x:33:34::/srv:\n"), 0o644)
	os.WriteFile(dir+"/etc/group", []byte("web:x:34:\ntape:x:26:web,root\n"), 0o644)
	for _, c := range []struct {
		spec     string
		uid, gid uint32
		groups   int
	}{{"", 0, 0, 1}, {"web", 33, 34, 1}, {"33", 33, 34, 1}, {"7", 7, 0, 0}, {"99", 99, 0, 0}, {"web:tape", 33, 26, 0}, {"5:6", 5, 6, 0}, {"web:", 33, 34, 1}, {"7:", 7, 0, 0}} {
		u, err := lookupIn(r, c.spec)
		if err != nil || u.UID != c.uid || u.GID != c.gid || len(u.Groups) != c.groups {
			t.Errorf("%q: %+v, %v", c.spec, u, err)
		}
	}
	for _, spec := range []string{"4294967296", "2147483648", "-1", "+1", "0x0", ":1", ":", "1:99999999999", "nobody", "1:2:3"} {
		if u, err := lookupIn(r, spec); err == nil {
			t.Errorf("%q is taken for %+v", spec, u)
		}
	}
}

func TestLookupUserWithHostileFiles(t *testing.T) {
	host := filepath.Join(t.TempDir(), "host")
	os.WriteFile(host, []byte("web:x:0:0::/:\n"), 0o644)
	for name, plant := range map[string]func(p string) error{
		"pipe":    func(p string) error { return unix.Mkfifo(p, 0o644) },
		"folder":  func(p string) error { return os.Mkdir(p, 0o755) },
		"sparse":  func(p string) error { os.WriteFile(p, nil, 0o644); return os.Truncate(p, 10<<30) },
		"symlink": func(p string) error { return os.Symlink(host, p) },
	} {
		t.Run(name, func(t *testing.T) {
			r, dir := root(t)
			if err := plant(dir + "/etc/passwd"); err != nil {
				t.Fatal(err)
			}
			if u, err := lookupIn(r, "web"); err == nil {
				t.Errorf("taken for %+v", u)
			}
		})
	}
}

func TestRootKeepsLinksInside(t *testing.T) {
	r, dir := root(t)
	os.Symlink("/etc", dir+"/l")
	os.WriteFile(dir+"/etc/x", []byte("in"), 0o644)
	if data, err := r.ReadFileLimited("/l/x", 10); err != nil || string(data) != "in" {
		t.Errorf("%q, %v", data, err)
	}
	if err := r.MkdirAll("/l/../../../a/b", 0o700, os.Geteuid(), os.Getegid()); err != nil {
		t.Error(err)
	}
	if err := r.RemoveAll("a"); err != nil {
		t.Error(err)
	}
	if _, err := r.Lstat("a"); !os.IsNotExist(err) {
		t.Error(err)
	}
}
