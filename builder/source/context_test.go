package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func tarOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			io.WriteString(w, h.Name)
		}
	}
	w.Close()
	return b.Bytes()
}

func gz(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func TestOpen(t *testing.T) {
	archive := tarOf(t, tar.Header{Name: "Dockerfile", Typeflag: tar.TypeReg, Mode: 0o644}, tar.Header{Name: "a/b", Typeflag: tar.TypeReg})
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "c.tgz"), gz(archive), 0o644)
	os.Mkdir(filepath.Join(dir, "d"), 0o755)
	os.WriteFile(filepath.Join(dir, "d", "Dockerfile"), nil, 0o644)
	s := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer s.Close()
	repo, _ := repositoryServer(t)
	for _, tc := range []struct{ spec, stdin, want string }{
		{"-", "FROM scratch\n", "recipe FROM scratch\n"},
		{"-", string(archive), "Dockerfile a a/b"},
		{"-", string(gz(archive)), "Dockerfile a a/b"},
		{"-", string(gz([]byte("FROM x"))), "recipe FROM x"},
		{dir + "/d", "", "Dockerfile"},
		{dir + "/c.tgz", "", "Dockerfile a a/b"},
		{s.URL + "/c.tgz", "", "Dockerfile a a/b"},
		{repo + "#main:sub", "", "f"},
	} {
		c, err := Open(context.Background(), tc.spec, OpenOptions{Stdin: strings.NewReader(tc.stdin), Tmp: t.TempDir()})
		if err != nil {
			t.Errorf("%.30q: %v", tc.spec, err)
			continue
		}
		got := names(t, c.Files, "")
		if c.Recipe != nil {
			got = "recipe " + string(c.Recipe)
		}
		if got != tc.want {
			t.Errorf("%.30q: got %q, want %q", tc.spec, got, tc.want)
		}
		c.Close()
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "text"), []byte("FROM x"), 0o644)
	for spec, stdin := range map[string]string{
		dir + "/none": "", dir + "/text": "", "-": "", "https://h/r.git#--upload-pack=x": "",
	} {
		if c, err := Open(context.Background(), spec, OpenOptions{Stdin: strings.NewReader(stdin), Tmp: t.TempDir()}); err == nil {
			t.Errorf("%q: %+v", spec, c)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: more than a line: %v", spec, err)
		}
	}
}

// A recipe or a folder of an archive that is a link cannot lead to the host.
func TestArchiveLinksStayInside(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(secret, []byte("marker"), 0o644)
	data := tarOf(t,
		tar.Header{Name: "Dockerfile", Typeflag: tar.TypeSymlink, Linkname: secret},
		tar.Header{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "/"},
		tar.Header{Name: "inside", Typeflag: tar.TypeReg}, tar.Header{Name: "ok", Typeflag: tar.TypeSymlink, Linkname: "/inside"})
	c, err := Open(context.Background(), "-", OpenOptions{Stdin: bytes.NewReader(data), Tmp: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, p := range []string{"Dockerfile", "a" + secret} {
		if got, err := ReadFile(c.Files, p, 100); err == nil {
			t.Errorf("%s: %q", p, got)
		}
	}
	if got, err := ReadFile(c.Files, "ok", 100); err != nil || string(got) != "inside" {
		t.Errorf("a link inside: %q, %v", got, err)
	}
}
