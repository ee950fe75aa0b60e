//go:build linux

package main_test

import (
	"crypto/rand"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hodbuild/hod/layers"
	"github.com/hodbuild/hod/registry/server"
)

// TestKilledPushOfABuiltLayerGoesOn kills a push in the middle of a layer that was
// compressed on its way and is whole by then: the next push knows its blob, and goes on
// all the same.
func TestKilledPushOfABuiltLayerGoesOn(t *testing.T) {
	const size = 12 << 20
	root, dir := t.TempDir(), t.TempDir()
	content := make([]byte, size)
	rand.Read(content)
	for name, b := range map[string][]byte{"Dockerfile": []byte("FROM scratch\nCOPY big /\n"), "big": content} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	store, err := layers.Open(t.TempDir(), layers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	line := &killing{inner: server.New(store, server.Options{}), after: size / 2}
	srv := httptest.NewServer(line)
	defer srv.Close()
	name := strings.TrimPrefix(srv.URL, "http://") + "/app:1"
	if out, err := exec.Command(hod, "--root", root, "build", "-q", "-t", name, dir).CombinedOutput(); err != nil {
		t.Fatalf("build: %v: %s", err, out)
	}
	push := exec.Command(hod, "--root", root, "push", "-q", name)
	line.kill = func() {
		for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
			if states, _ := filepath.Glob(filepath.Join(root, "partial", "*", "state")); len(states) == 2 {
				break // the journal is kept for the layer and for its blob
			}
		}
		push.Process.Kill()
	}
	if err := push.Start(); err != nil {
		t.Fatal(err)
	}
	if err := push.Wait(); err == nil {
		t.Fatal("the push was not killed")
	}
	if out, err := exec.Command(hod, "--root", root, "push", "-q", name).CombinedOutput(); err != nil {
		t.Fatalf("push: %v: %s", err, out)
	}
	if sent := line.bytes.Load(); sent > size*105/100 {
		t.Errorf("%d bytes were sent of %d", sent, size)
	}
}

// killing is a registry that counts the bytes of uploads, and kills who sends them after
// so many.
type killing struct {
	inner http.Handler
	after int64
	kill  func()
	once  sync.Once
	bytes atomic.Int64
}

func (k *killing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPatch {
		r.Body = &killingBody{r.Body, k}
	}
	k.inner.ServeHTTP(w, r)
}

type killingBody struct {
	io.ReadCloser
	k *killing
}

func (b *killingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.k.bytes.Add(int64(n)) > b.k.after {
		b.k.once.Do(b.k.kill)
	}
	return n, err
}
